"""What was written, compared with what is read back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from headstart.errors import HeadstartError


def changed_tensors(written: nn.Module, read: nn.Module) -> list[str]:
    """Names of the tensors that only one of two networks has, or that differ in a bit."""
    before, after = written.state_dict(), read.state_dict()
    lone = sorted(before.keys() ^ after.keys())
    shared = [name for name in before if name in after]
    return lone + [n for n in shared if not torch.equal(before[n].cpu(), after[n].cpu())]


def check_unchanged(what: str, different: Sequence[str]) -> None:
    """Accept what was read back if nothing differs.

    Args:
        what: was saved, as the message begins.
        different: names of what differs.

    Raises:
        HeadstartError: something does.
    """
    if different:
        raise HeadstartError(
            f"{what} is not the trained one; these differ after reading it back: "
            f"{', '.join(different[:5])}. The disk or the memory may be faulty."
        )
