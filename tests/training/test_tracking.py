"""What `--track` leaves behind is the log of every stage that is kept, point by point."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.conftest import FILLER, PRODUCT, reviews

import headstart
from headstart.errors import RecipeError, UserError
from headstart.training.loop import State
from headstart.training.tracking import Tracked, flat, title, tracker


def trained(tiny_bert: Path, out: Path, track: str | None):
    """Two stages of a recipe, the first with validation."""
    rates = {"learning_rate": 3e-3, "batch_tokens": 64}
    recipe = {
        "backbone": str(tiny_bert), "pooling": "mean", "test": "test",
        "data": {name: {"path": name} for name in ("films", "shop", "test")},
        "stage": [{"name": "first", "data": "films", "epochs": 2, "validation": 0.2, **rates},
                  {"name": "then more", "data": "shop", "epochs": 3, **rates}],
    }  # fmt: skip
    data = {"films": reviews(67, 3, FILLER), "shop": reviews(41, 5, PRODUCT),
            "test": reviews(31, 7, PRODUCT)}  # fmt: skip
    return headstart.run(recipe, data=data, out=out, track=track, progress=False)


def events(folder: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """By run and by what was measured: steps and values, as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = {}
    for run in folder.iterdir():
        read = accumulator.EventAccumulator(str(run), size_guidance={"scalars": 0})
        read.Reload()
        names = read.Tags()["scalars"]
        found[run.name] = {n: [(e.step, e.value) for e in read.Scalars(n)] for n in names}
    return found


def expected(verdict) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """The same from what verdict.json says of the stages."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for stage in verdict.values["stages"]:
        run = found.setdefault(title(stage["name"], stage["seed"], stage["digest"]), {})
        for point in stage["log"]:
            for name, value in flat(point).items():
                run.setdefault(name, []).append((point["step"], pytest.approx(value, rel=1e-6)))
    return found


def test_tensorboard_holds_the_log_of_every_stage_that_is_kept(tiny_bert, tmp_path):
    verdict = trained(tiny_bert, tmp_path / "run", "tensorboard")
    assert {stage["name"] for stage in verdict.values["stages"]} == {"first", "then more"}
    assert events(tmp_path / "run" / "track") == expected(verdict)


def test_stages_of_before_are_tracked_from_their_record_and_once(tiny_bert, tmp_path):
    trained(tiny_bert, tmp_path / "one", None)
    assert not (tmp_path / "one" / "track").exists()
    for _ in range(2):  # given again, it begins anew and does not add to what is there
        verdict = trained(tiny_bert, tmp_path / "two", "tensorboard")
        assert all(stage["cached"] for stage in verdict.values["stages"])
        assert events(tmp_path / "two" / "track") == expected(verdict)


def test_csv_needs_no_library(tiny_bert, tmp_path):
    verdict = trained(tiny_bert, tmp_path / "run", "csv")
    for stage in verdict.values["stages"]:
        run = title(stage["name"], stage["seed"], stage["digest"])
        with (tmp_path / "run" / "track" / run / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["step"]) for row in rows] == [point["step"] for point in stage["log"]]
        assert [float(row["loss"]) for row in rows] == [point["loss"] for point in stage["log"]]


class Remembered:
    """A log in memory."""

    def __init__(self) -> None:
        self.points: list[tuple[int, dict[str, float]]] = []
        self.closed = 0

    def measured(self, step, values):
        self.points.append((step, dict(values)))

    def close(self):
        self.closed += 1


def test_a_stage_that_goes_on_is_tracked_from_its_beginning(monkeypatch, tiny_bert, tmp_path):
    logs: dict[str, Remembered] = {}

    def opened(run, facts):
        logs[run] = Remembered()
        return logs[run]

    def begun(training):
        return State(log=[{"step": 1, "loss": 0.75, "validation": {"accuracy": 0.5}}], step=1)

    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("headstart.training.loop.restore", begun)
    monkeypatch.setattr("headstart.training.tracking.tracker", lambda *_: Tracked(opened))
    verdict = trained(tiny_bert, tmp_path / "run", "csv")
    assert len(logs) == len(verdict.values["stages"]) == 2
    for stage in verdict.values["stages"]:
        log = logs[title(stage["name"], stage["seed"], stage["digest"])]
        assert log.points[0] == (1, {"loss": 0.75, "validation/accuracy": 0.5})
        assert log.points == [(point["step"], flat(point)) for point in stage["log"]]
        assert log.closed == 1


def test_mlflow_holds_each_stage_as_a_run(tiny_bert, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    for _ in range(2):
        verdict = trained(tiny_bert, tmp_path / "run", "mlflow")
    place = f"sqlite:///{(tmp_path / 'run' / 'track' / 'mlflow.db').as_posix()}"
    client = mlflow.MlflowClient(tracking_uri=place)
    experiment = client.get_experiment_by_name("headstart")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == len(verdict.values["stages"])
    for stage in verdict.values["stages"]:
        run = runs[title(stage["name"], stage["seed"], stage["digest"])]
        losses = client.get_metric_history(run.info.run_id, "loss")
        assert [(m.step, m.value) for m in losses] == [(p["step"], p["loss"]) for p in stage["log"]]
        assert run.data.params["digest"] == stage["digest"]
        assert run.info.status == "FINISHED"


def test_what_is_asked_wrongly_is_told_before_anything_is_read(tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match=r"track: .*'tensorbord'.*tensorboard"):
        headstart.transfer("none.csv", "none.csv", out=tmp_path / "o", track="tensorbord")
    with pytest.raises(RecipeError, match="track: needs a folder"):
        headstart.run({}, track="csv")
    monkeypatch.setattr("headstart.training.tracking.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'headstart\[mlflow\]'"):
        headstart.transfer("none.csv", "none.csv", out=tmp_path / "o", track="mlflow")
    with pytest.raises(UserError, match=r"pip install 'headstart\[track\]'"):
        tracker("tensorboard", tmp_path)
    assert not (tmp_path / "o").exists()


def test_titles_are_fit_for_files():
    assert title("without a/b", 3, "5f3a9b1c77") == "without_a_b-seed3-5f3a9b1c"
