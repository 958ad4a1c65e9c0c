"""`--track`: the log of every stage, passed on to TensorBoard, MLflow or a csv file as it is made.

Each stage is a run of its own. One that was trained before is passed on from its record, so that
what is tracked is whole, however often a command was stopped and given again.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headstart.errors import RecipeError, UserError, unknown_name

if TYPE_CHECKING:
    from lightning_fabric.loggers.logger import Logger

NEEDS = {"tensorboard": "track", "mlflow": "mlflow", "csv": None}
"""What a stage's log can be passed on to, each with the extra of headstart that brings it."""

FOLDER = "track"
"""Where it is written, inside a run's folder."""

Point = Mapping[str, Any]
Tell = Callable[[Point], None]
"""Takes a point of a stage's log: step, loss, learning_rate, and what validation measured."""


class Tracker(Protocol):
    """Where the logs of stages go."""

    def run(
        self, name: str, seed: int, digest: str, facts: Mapping[str, Any]
    ) -> AbstractContextManager[Tell]:
        """Open a run for a stage.

        Args:
            name: of the stage.
            seed: of what it draws.
            digest: of what goes into it.
            facts: its values.

        Returns:
            A context manager that gives what takes the points of its log.
        """
        ...

    def found(self, record: Mapping[str, Any]) -> None:
        """Pass on the log of a stage that was trained before."""
        ...


class Untracked:
    """Logs go nowhere but into the stages' records."""

    @contextmanager
    def run(self, name: str, seed: int, digest: str, facts: Mapping[str, Any]) -> Iterator[Tell]:
        """A run that nobody looks at."""
        yield lambda point: None

    def found(self, record: Mapping[str, Any]) -> None:
        """Nothing to do."""


class Tracked:
    """Logs go to one kind of log keeper, each stage once.

    Args:
        open_log: opens the log of a run, by the run's title and its facts.
    """

    def __init__(self, open_log: Callable[[str, Mapping[str, Any]], Log]) -> None:
        self._open, self._seen = open_log, set[str]()

    @contextmanager
    def run(self, name: str, seed: int, digest: str, facts: Mapping[str, Any]) -> Iterator[Tell]:
        """A run of its own, closed in the end, also where training is stopped."""
        self._seen.add(digest)
        log = self._open(title(name, seed, digest), {"seed": seed, "digest": digest, **facts})
        try:
            yield lambda point: log.measured(int(point["step"]), flat(point))
        finally:
            log.close()

    def found(self, record: Mapping[str, Any]) -> None:
        """Pass a finished stage's log on, unless it was before."""
        digest = str(record["digest"])
        if digest not in self._seen and record["log"]:
            stage = record["inputs"].get("stage", {})
            with self.run(record["name"], record["seed"], digest, stage) as tell:
                for point in record["log"]:
                    tell(point)


class Log(Protocol):
    """Keeps the log of one run."""

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Keep what was measured at a step."""
        ...

    def close(self) -> None:
        """Write what is not written yet."""
        ...


class FabricLog:
    """A log that a logger of Lightning Fabric keeps."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Keep what was measured at a step."""
        self.logger.log_metrics(dict(values), step)

    def close(self) -> None:
        """Write what is not written yet."""
        self.logger.finalize("success")


class MlflowLog:
    """A run of MLflow, in a database inside the run's folder."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.client, self.run_id = client, run_id

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Keep what was measured at a step."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics)

    def close(self) -> None:
        """Say that the run is over."""
        self.client.set_terminated(self.run_id)


def check_track(kind: str | None, folder: Path | str | None) -> None:
    """Whether logs can be passed on as asked.

    Raises:
        RecipeError: there is no such kind, or no folder to write to.
        UserError: a library is missing.
    """
    if kind is None:
        return
    if kind not in NEEDS:
        raise RecipeError(unknown_name("track", "kind of log", kind, NEEDS))
    if folder is None:
        raise RecipeError("track: needs a folder for what it writes. Give out as well.")
    extra = NEEDS[kind]
    if extra is not None and find_spec(kind) is None:
        raise UserError(
            f"track: {kind} is not installed. pip install 'headstart[{extra}]' brings it; csv "
            "needs nothing."
        )


def tracker(kind: str | None, folder: Path | None) -> Tracker:
    """What passes logs on.

    Args:
        kind: a key of `NEEDS`; None for nothing.
        folder: the output folder of the run.

    Raises:
        UserError: as `check_track` does.
    """
    check_track(kind, folder)
    if kind is None or folder is None:
        return Untracked()
    root = folder / FOLDER
    if kind == "mlflow":
        return Tracked(_mlflow(root))
    return Tracked(lambda run, facts: _fabric(kind, root, run))


def _fabric(kind: str, root: Path, run: str) -> FabricLog:
    """The log of a run, begun anew: in a folder of the run's title."""
    from lightning_fabric.loggers.csv_logs import CSVLogger
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    with suppress(FileNotFoundError):
        shutil.rmtree(root / run)
    if kind == "csv":
        return FabricLog(CSVLogger(root, name="", version=run))
    return FabricLog(TensorBoardLogger(root, name="", version=run, default_hp_metric=False))


def _mlflow(root: Path) -> Callable[[str, Mapping[str, Any]], MlflowLog]:
    """Opens runs of the experiment "headstart"; one that was begun before is put away."""
    from mlflow import MlflowClient

    root.mkdir(parents=True, exist_ok=True)
    place = f"sqlite:///{(root / 'mlflow.db').absolute().as_posix()}"
    client = MlflowClient(tracking_uri=place)
    known = client.get_experiment_by_name("headstart")
    files = (root / "mlflow").absolute().as_uri()
    experiment = known.experiment_id if known else client.create_experiment("headstart", files)

    def open_log(run: str, facts: Mapping[str, Any]) -> MlflowLog:
        for old in client.search_runs([experiment], f"attributes.run_name = '{run}'"):
            client.delete_run(old.info.run_id)
        opened = client.create_run(experiment, run_name=run).info.run_id
        for name, value in facts.items():
            client.log_param(opened, name, str(value)[:500])
        return MlflowLog(client, opened)

    return open_log


def title(name: str, seed: int, digest: str) -> str:
    """What a run is called: "tune-seed0-5f3a9b1c", fit for a file's name."""
    return f"{re.sub(r'[^A-Za-z0-9_.+-]+', '_', name)}-seed{seed}-{digest[:8]}"


def flat(point: Point) -> dict[str, float]:
    """What a point of the log measured, under one name each: "validation/accuracy"."""
    found: dict[str, float] = {}
    for name, value in point.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": float(one) for inner, one in value.items()}
        elif name != "step":
            found[name] = float(value)
    return found
