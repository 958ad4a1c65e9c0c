"""Sinusoid regression as in the MAML paper (Finn et al. 2017, section 5.1): does it learn to learn?

    python benchmarks/sinusoid.py [--steps 15000] [--small]

A task is a sine of amplitude 0.1 to 5 and phase 0 to pi, of which K = 10 points in [-5, 5] are
known. The network has two layers of 40 and ReLU. MAML learns a beginning from which one step of
gradient descent at rate 0.01 leads to the sine at hand; "joint" learns all sines at once, as
pre-training does, and takes the same steps from there. Both go through headstart's objectives and
its one loop; what is measured is the mean squared error over the whole interval, on 600 new sines.

Needed: MAML below 0.5 after 1 step, joint above 2.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from common import arguments, keep
from headstart.data.batches import Batch, derive_seed
from headstart.data.episodes import Episode
from headstart.evaluation.intervals import mean_interval
from headstart.models.functional import WEIGHT, Functional, LearnedHead, layer_of
from headstart.nn.ragged import Layout, Ragged
from headstart.objectives.episodes import EpisodeObjective
from headstart.objectives.maml import FirstOrderMaml, Maml
from headstart.objectives.supervised import Objective, Supervised
from headstart.recipe import Stage
from headstart.training.loop import Training, Work, train
from headstart.training.meta import EpisodeSteps
from headstart.training.progress import OnConsole

POINTS, WIDTH = 10, 40
INNER_RATE, RATE, TASKS = 0.01, 1e-3, 25
TESTED, GRID = 600, 100
STEPS_TRIED = (0, 1, 5, 10)
NEEDED = {"maml": ("below", 0.5), "joint": ("above", 2.0)}


class Body(nn.Module):
    """Two layers with ReLU: rows of one number each to (B, 40)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, inputs: Ragged, segments: Tensor | None = None) -> Tensor:
        """Map (B, 1) to (B, 40)."""
        return F.relu(self.second(F.relu(self.first(inputs.values))))


class Regression(nn.Module):
    """A body and the beginning of a head of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        layers = sorted({layer_of(name) for name, _ in self.body.named_parameters()} | {"head"})
        self.head = LearnedHead(nn.Linear(WIDTH, 1), layers, INNER_RATE)

    def forward(self, inputs: Ragged, segments: Tensor | None = None) -> Tensor:
        """Map (B, 1) to (B, 1)."""
        return self.head.start(self.body(inputs, segments))


@dataclass(frozen=True)
class Squares:
    """Squared error, as a task of the plain objective."""

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The mean over the points."""
        assert batch.target is not None
        return F.mse_loss(network(batch.inputs, batch.segments), batch.target)


def sine(random: np.random.Generator) -> Callable[[np.ndarray], Batch]:
    """One task: points on it, by their places."""
    amplitude, phase = random.uniform(0.1, 5.0), random.uniform(0.0, np.pi)

    def points(x: np.ndarray) -> Batch:
        values, targets = (
            torch.tensor(y, dtype=torch.float32)[:, None]
            for y in (x, amplitude * np.sin(x - phase))
        )
        return Batch(Ragged(values, Layout([1] * len(x))), torch.arange(len(x)), targets)

    return points


def episode(random: np.random.Generator, weight: float) -> Episode:
    """Points to learn from and others to be asked about, of one sine."""
    points = sine(random)
    support, query = (points(random.uniform(-5.0, 5.0, POINTS)) for _ in range(2))
    return Episode(support, query, 1, weight)


def learned(way: str, network: Regression, steps: int, tasks: int) -> float:
    """Train one way in the loop; returns its seconds."""
    fabric = Fabric(accelerator="cpu", devices=1)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    module = network if way == "joint" else Functional(network.body)
    forward, adam = fabric.setup(module, optimizer)

    def work(step: int) -> Work:
        random = np.random.default_rng(derive_seed(way, step))
        episodes = [episode(random, 1 / tasks) for _ in range(tasks)]
        pieces: Sequence[Any] = episodes
        if way == "joint":
            pieces = [together(episodes)]
        return Work(2 * POINTS * tasks, pieces)

    with tempfile.TemporaryDirectory() as folder:
        training = Training(
            stage=Stage(
                name=way, data="sines", steps=steps, schedule="constant", warmup=0.0, clip=0
            ),
            fabric=fabric,
            network=network,
            forward=forward,
            objective=objective(way, network, fabric.backward),
            optimizer=adam,
            decay=lambda: None,
            steps=EpisodeSteps(steps),
            work=work,
            validate=None,
            seed=0,
            save_file=Path(folder) / "state",
            save_seconds=1e9,
        )
        start = time.perf_counter()
        train(training, OnConsole())
        return time.perf_counter() - start


def together(episodes: Sequence[Episode]) -> Batch:
    """All points of several sines as one batch."""
    batches = [batch for one in episodes for batch in (one.support, one.query)]
    values = torch.cat([batch.inputs.values for batch in batches])
    targets = torch.cat([batch.target for batch in batches if batch.target is not None])
    return Batch(Ragged(values, Layout([1] * len(values))), torch.arange(len(values)), targets)


def objective(way: str, network: Regression, propagate: Callable[[Tensor], None]) -> Objective:
    """MAML to the second or first order, or the plain objective."""
    if way == "joint":
        return Supervised(Squares(), propagate)
    return learner(network, {"maml": Maml, "fomaml": FirstOrderMaml}[way], propagate)


def learner(
    network: Regression, kind: type[FirstOrderMaml], propagate: Callable[[Tensor], None]
) -> FirstOrderMaml:
    """Everything moves inside, one step."""
    inside = dict(network.body.named_parameters())
    return kind(inside, network.head, 1, propagate, F.mse_loss)


def errors(network: Regression, count: int) -> dict[int, np.ndarray]:
    """(E,) mean squared error over the interval after so many steps, on new sines."""
    adapting: EpisodeObjective = learner(network, FirstOrderMaml, lambda loss: None)
    functional, grid = Functional(network.body).eval(), np.linspace(-5.0, 5.0, GRID)
    found = {steps: np.empty(count) for steps in STEPS_TRIED}
    for number in range(count):
        random = np.random.default_rng(derive_seed("test", number))
        points = sine(random)
        support, query = points(random.uniform(-5.0, 5.0, POINTS)), points(grid)
        for steps, values in found.items():
            parameters = adapting.learned(functional, support, 1, steps)
            answers = adapting.answers(functional, parameters, query)
            values[number] = adapting.measured(answers, query)["loss"]
    return found


def main() -> None:
    """Train each way, and measure both on the same sines."""
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=15_000, help="updates of each way")
    parser.add_argument("--ways", nargs="+", default=["maml", "joint"],
                        choices=["maml", "fomaml", "joint"])  # fmt: skip
    options = parser.parse_args()
    steps, tested = (30, 20) if options.small else (options.steps, TESTED)
    assert layer_of(WEIGHT) == "head"
    rows = []
    for way in options.ways:
        torch.manual_seed(0)
        network = Regression()
        seconds = learned(way, network, steps, TASKS)
        for count, values in errors(network, tested).items():
            found = mean_interval(values)
            rows.append({"way": way, "steps": count, "mean_squared_error": vars(found)})
            print(f"{way:<7} {count:>2} steps: {found.value:6.3f} "
                  f"[{found.low:.3f}, {found.high:.3f}]  ({seconds:.0f} s)")  # fmt: skip
        rows.append({"way": way, "training_seconds": round(seconds, 1)})
    settings = {"points": POINTS, "inner_rate": INNER_RATE, "rate": RATE, "updates": steps,
                "tasks_in_an_update": TASKS, "sines_tested": tested}  # fmt: skip
    if not options.small:
        keep("sinusoid", {"settings": settings, "needed": NEEDED, "rows": rows})


if __name__ == "__main__":
    main()
