"""The only loop: zero, call the objective, clip, step, report.

Whatever trains in headstart trains here; what differs is the objective. A run that is stopped, or
killed, goes on from its last save and ends bit-identical on a CPU to one that was not: the order of
rows and the random numbers of a step are functions of the seed and the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from headstart.clock import part
from headstart.data.ahead import Ahead
from headstart.data.atomic import write_atomically
from headstart.data.batches import derive_seed
from headstart.errors import InterruptedRunError, TrainingError
from headstart.objectives.supervised import Objective, Remembers
from headstart.recipe import Stage
from headstart.training.companion import Companion
from headstart.training.profiling import stepped
from headstart.training.progress import Progress
from headstart.training.rowwise import clip_gradients
from headstart.training.signals import stop_on_signals
from headstart.training.tracking import Tell

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_POINTS = 200
SLANT = 32
"""Peak of slanted triangular rates over the lowest of them, as their authors have it."""


@dataclass
class State:
    """All of a stage that changes while it trains.

    Attributes:
        step: updates done.
        log: measurements, about `LOG_POINTS` of them and one for each validation.
        best_score: best validation score so far.
        best_weights: what moves, as it was then; empty without validation.
        stale: epochs since then.
        seconds: time trained, all sittings together.
        tokens: tokens seen.
        sums: of what was measured since the last point of the log, each with how often.
    """

    step: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    stale: int = 0
    seconds: float = 0.0
    tokens: int = 0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)


class Steps(Protocol):
    """How many updates a stage has."""

    @property
    def total(self) -> int:
        """Updates in the whole stage."""
        ...

    def ends_epoch(self, step: int) -> bool:
        """Whether a step, counted from 0, is the last of its epoch."""
        ...


class Piece(Protocol):
    """What goes through the network at once: a batch, or whatever an objective understands."""

    @property
    def rows(self) -> Tensor:
        """(B,) int64 places of its rows in the data that is trained on."""
        ...

    def to(self, device: torch.device) -> Any:
        """The same on another device."""
        ...


@dataclass(frozen=True)
class Work:
    """What one update works on.

    Attributes:
        num_tokens: in all pieces.
        pieces: their gradients add up.
    """

    num_tokens: int
    pieces: Sequence[Piece]


@dataclass
class Training:
    """What one stage binds together for the loop.

    Attributes:
        stage: the plain values.
        fabric: device and precision.
        network: bare network, its frozen parts pinned.
        forward: maps a batch's inputs and segments to logits; the network as Fabric set it up,
            or the parts of it that are not cached.
        objective: leaves gradients.
        optimizer: over what moves.
        decay: brings the weights of rows that no batch asked for to the present.
        steps: how many updates there are, and where epochs end.
        work: what an update, counted from 0, works on; called ahead of it, in a thread.
        validate: scores of the network on the held-out rows; None without.
        seed: of dropout.
        save_file: where the state is saved.
        save_seconds: time between saves.
        companions: told of each update.
        tell: takes each point of the log.
    """

    stage: Stage
    fabric: Fabric
    network: nn.Module
    forward: Any
    objective: Objective
    optimizer: torch.optim.Optimizer
    decay: Callable[[], None]
    steps: Steps
    work: Callable[[int], Work]
    validate: Callable[[], dict[str, float]] | None
    seed: int
    save_file: Path
    save_seconds: float = 60.0
    companions: Sequence[Companion] = ()
    tell: Tell = lambda point: None


def rate_factor(stage: Stage, step: int, total: int) -> float:
    """Share of the peak rate at a step counted from 0: linear warm-up, then the stage's decay.

    Slanted triangular rates are never below a `SLANT`-th of the peak (Howard and Ruder 2018,
    equation 3).
    """
    warmup = math.ceil(stage.warmup * total)
    if stage.schedule == "slanted":
        rise = step / warmup if step < warmup else 1 - (step - warmup) / max(1, total - warmup)
        return (1 + rise * (SLANT - 1)) / SLANT
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    if stage.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0 if stage.schedule == "constant" else 1.0 - done


def train(training: Training, progress: Progress) -> State:
    """Train one stage to its end, from its last save where there is one.

    Raises:
        TrainingError: the loss is not finite.
        InterruptedRunError: SIGINT or SIGTERM; the state is saved.
    """
    state = restore(training)
    for point in state.log:
        training.tell(point)
    total = training.steps.total
    peak_rates = [group["lr"] for group in training.optimizer.param_groups]
    training.network.train()
    saved = time.perf_counter()
    with (
        stop_on_signals() as stop,
        progress.bar(training.stage.name, total, state.step) as bar,
        Ahead(_ahead(training, state.step)) as works,
    ):
        while state.step < total and not _patience_is_over(training, state):
            start = time.perf_counter()
            factor = rate_factor(training.stage, state.step, total)
            for group, peak in zip(training.optimizer.param_groups, peak_rates, strict=True):
                group["lr"] = peak * factor
            with part("data"):
                work = next(works)
            for companion in training.companions:
                companion.before(state.step)
            measured = update(training, work.pieces, state.step)
            for companion in training.companions:
                companion.after(state.step)
            record(training, state, work.num_tokens, measured, peak_rates[0] * factor)
            now = time.perf_counter()
            state.seconds += now - start
            bar.advance(1, work.num_tokens, f"loss {measured['loss']:.3f}")
            stepped()
            if stop.signal_number is not None:
                save(training, state, peak_rates)
                raise InterruptedRunError(_how_to_go_on(training, state), stop.signal_number)
            if now - saved >= training.save_seconds and state.step < total:
                save(training, state, peak_rates)
                saved = time.perf_counter()
    training.decay()
    if state.best_weights:
        training.network.load_state_dict(training.network.state_dict() | state.best_weights)
    for companion in training.companions:
        companion.finish()
    training.network.eval()
    return state


def _ahead(training: Training, step: int) -> Iterator[Work]:
    """What each update works on, from a step on."""
    for number in range(step, training.steps.total):
        yield training.work(number)


def update(training: Training, pieces: Sequence[Piece], step: int) -> dict[str, float]:
    """One update, by pieces whose gradients add up. Returns what was measured before it.

    Raises:
        TrainingError: the loss is not finite.
    """
    # Seeding each step makes its dropout a function of seed and step: nothing to save or restore.
    torch.manual_seed(derive_seed("dropout", training.seed, step))
    training.optimizer.zero_grad(set_to_none=True)
    device, num_rows = training.fabric.device, sum(len(piece.rows) for piece in pieces)
    measured: dict[str, float] = {}
    for piece in pieces:
        found = training.objective.backward(training.forward, piece.to(device))
        for name, value in found.items():
            measured[name] = measured.get(name, 0.0) + value * len(piece.rows) / num_rows
    loss = measured["loss"]
    if not math.isfinite(loss):
        raise TrainingError(
            f"stage {training.stage.name!r}, step {step + 1}: the loss is {loss}, on rows "
            f"{pieces[0].rows.tolist()[:8]} of {training.stage.data!r}. A learning rate a third as "
            f"large, or precision float32 (HEADSTART_PRECISION=float32), is the usual remedy; the "
            f"state before this step is kept."
        )
    with part("optimiser"):
        if training.stage.clip:
            clip_gradients(training.network.parameters(), training.stage.clip)
        training.optimizer.step()
    return measured


def record(
    training: Training, state: State, tokens: int, measured: dict[str, float], rate: float
) -> None:
    """Count the update, log what it measured now and then, validate at the end of an epoch."""
    step, total = state.step, training.steps.total
    state.step += 1
    state.tokens += tokens
    for name, value in measured.items():
        total_so_far, count = state.sums.get(name, (0.0, 0))
        state.sums[name] = (total_so_far + value, count + 1)
    ends_epoch = training.steps.ends_epoch(step)
    validated = training.validate is not None and ends_epoch
    logged = validated or state.step % max(1, total // LOG_POINTS) == 0 or state.step == total
    if logged:
        means = {name: value / count for name, (value, count) in state.sums.items()}
        state.log.append({"step": state.step, **means, "learning_rate": rate})
        state.sums = {}
    if validated:
        _validate(training, state)
    if logged:
        training.tell(state.log[-1])


def _validate(training: Training, state: State) -> None:
    assert training.validate is not None
    training.decay()
    training.network.eval()
    with part("evaluation"):
        scores = training.validate()
    training.network.train()
    state.log[-1]["validation"] = scores
    score = next(iter(scores.values()))
    if score > state.best_score:
        state.best_score, state.stale = score, 0
        state.best_weights = {name: p.clone() for name, p in _moving(training).items()}
    else:
        state.stale += 1


def _moving(training: Training) -> dict[str, Tensor]:
    """Every parameter that moves at some time of the stage, by name."""
    groups = training.optimizer.param_groups
    moving = {id(parameter) for group in groups for parameter in group["params"]}
    named = training.network.named_parameters()
    return {name: p.detach() for name, p in named if id(p) in moving}


def _patience_is_over(training: Training, state: State) -> bool:
    return training.stage.patience is not None and state.stale >= training.stage.patience


def _how_to_go_on(training: Training, state: State) -> str:
    return (
        f"stopped in stage {training.stage.name!r} after step {state.step} of "
        f"{training.steps.total}; the state is saved. The same command goes on from there."
    )


def save(training: Training, state: State, peak_rates: list[float]) -> None:
    """Save what moves, the optimiser and the state; frozen weights are known already."""
    everything = {
        "weights": _moving(training),
        "optimizer": training.optimizer.state_dict(),
        "peak_rates": peak_rates,
        "state": vars(state),
        "objective": _memory(training.objective),
        "companions": [companion.state_dict() for companion in training.companions],
    }
    with write_atomically(training.save_file) as file:
        torch.save(everything, file)


def restore(training: Training) -> State:
    """Go back to the last save, or begin."""
    if not training.save_file.exists():
        return State()
    saved = torch.load(training.save_file, weights_only=True, map_location="cpu")
    training.network.load_state_dict(training.network.state_dict() | saved["weights"])
    training.optimizer.load_state_dict(saved["optimizer"])
    rates = saved["peak_rates"]
    for group, rate in zip(training.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    if isinstance(training.objective, Remembers):
        training.objective.load_state_dict(saved["objective"])
    for companion, memory in zip(training.companions, saved["companions"], strict=True):
        companion.load_state_dict(memory)
    return State(**saved["state"])


def _memory(objective: Objective) -> dict[str, Any]:
    """What an objective must know to go on; most know nothing."""
    return objective.state_dict() if isinstance(objective, Remembers) else {}
