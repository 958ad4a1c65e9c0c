"""Which companions a stage asks for."""

from __future__ import annotations

from collections.abc import Callable

from headstart.models.chain import Chain
from headstart.recipe import Stage
from headstart.training.averaging import Averaging, FadingMean, Interpolation, LastMean
from headstart.training.companion import Companion
from headstart.training.unfreezing import GradualUnfreezing

MEANS: dict[str, type[LastMean | FadingMean]] = {"swa": LastMean, "ema": FadingMean}


def companions(
    network: Chain, stage: Stage, total: int, settle: Callable[[], None]
) -> tuple[Companion, ...]:
    """What goes along with a stage's updates, in the order in which it is told.

    Args:
        network: as the stage begins, what moves settled.
        stage: the plain values.
        total: updates.
        settle: brings weights to the present that an optimiser left behind.
    """
    found: list[Companion] = []
    if stage.unfreeze == "gradual":
        found.append(GradualUnfreezing(network, total))
    if stage.average != "no":
        mean: Averaging = MEANS[stage.average](network, settle, total, stage.average_share)
        found.append(mean)
    if stage.interpolate < 1:
        found.append(Interpolation(network, stage.interpolate))
    return tuple(found)
