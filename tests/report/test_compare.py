"""Runs side by side, and the pages that `headstart report` makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.commands import Here
from tests.report import sample

import headstart
from headstart.errors import DataError, RecipeError, UserError


def left(folder: Path, **changes) -> Path:
    """A run's folder with the made-up verdict in it."""
    folder.mkdir(parents=True)
    (folder / "verdict.json").write_text(json.dumps({**sample.verdict(), **changes}))
    return folder


@pytest.fixture
def command(capsys, monkeypatch, tmp_path) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(capsys, monkeypatch)


def test_a_report_is_made_anew_and_is_the_same(command, tmp_path):
    from headstart.report.html import render

    left(tmp_path / "run")
    done = command("report", "run")
    assert (done.code, done.out.strip()) == (0, "run/report.html")
    made = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert made == render(sample.verdict())
    assert command("report", "run", "--out", "elsewhere.html").code == 0
    assert (tmp_path / "elsewhere.html").read_text(encoding="utf-8") == made


@pytest.mark.parametrize(("content", "message"), [
    (None, "no such run. Did you mean 'run'?"),
    ("{", "cannot be read as JSON"),
    ("[1]", 'holds no "schema"'),
    ('{"schema": "headstart.verdict/9"}', "makes no report of it"),
])  # fmt: skip
def test_what_is_no_run_is_told(command, tmp_path, content, message):
    left(tmp_path / "run")
    name = "rum"
    if content is not None:
        name = "bad"
        (tmp_path / name).mkdir()
        (tmp_path / name / "verdict.json").write_text(content)
    done = command("report", name)
    assert done.code == 2 and message in " ".join(done.err.split())
    assert not (tmp_path / name / "report.html").exists()


def test_a_run_that_has_not_finished_is_told(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".headstart").touch()
    with pytest.raises(DataError, match="has not finished"):
        headstart.write_report(tmp_path / "run")
    left(tmp_path / "runs" / "one")
    with pytest.raises(DataError, match=r"Runs inside it: one\."):
        headstart.write_report(tmp_path / "runs")


def test_runs_lie_side_by_side(tmp_path):
    data = sample.verdict()["data"]
    other = {**data, "source": {**data["source"], "name": "book_reviews.csv"}}
    one = left(tmp_path / "films")
    two = left(tmp_path / "books", data=other, curve=None, precision="bfloat16",
               gain={"value": -0.01, "low": -0.02, "high": -0.004})  # fmt: skip
    found = headstart.compare_runs([one, two])
    told = str(found)
    assert max(map(len, told.splitlines())) <= 80
    for said in ("films: The source helps", "source → target", "88.1 [86.0, 89.9]  <- winner",
                 "+3.4 [+1.1, +5.6]", "−1.0 [−2.0, −0.4]", "movie_reviews.csv, 10,072 rows",
                 "book_reviews.csv, 10,072 rows", "bfloat16 and float32"):  # fmt: skip
        assert said in told, said
    names = [name for name, _ in found.differences()]
    assert names == ["data: source", "precision"]
    page = found.html()
    assert page.count("<polyline") == 3, "the curve of one run, and what is foretold"
    assert "None" not in page and "book_reviews.csv" in page


def test_runs_judged_by_other_rows_are_warned_of(tmp_path):
    data = sample.verdict()["data"]
    other = {**data, "test": {**data["test"], "rows": 31}}
    runs = [left(tmp_path / "a" / "run"), left(tmp_path / "b" / "run", data=other)]
    found = headstart.compare_runs(runs)
    assert found.warnings == (
        "The runs were not judged by the same rows: differences between their figures are also "
        "differences between these rows.",
    )
    assert [run.name for run in found.runs] == [str(run) for run in runs]


def test_the_command_compares(command, tmp_path):
    left(tmp_path / "one"), left(tmp_path / "two")
    done = command("report", "--compare", "one", "two")
    assert done.code == 0 and "comparison.html" in done.out
    assert "one" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "--compare lays" in command("report", "one", "two").err
    assert "two runs or more" in command("report", "--compare", "one").err


def test_runs_without_arms_cannot_be_compared(tmp_path):
    one = left(tmp_path / "one")
    two = left(tmp_path / "two", schema="headstart.pretraining/1")
    with pytest.raises(DataError, match=r"headstart.pretraining/1, which has no ways"):
        headstart.compare_runs([one, two])
    with pytest.raises(RecipeError, match="two runs or more; got 1"):
        headstart.compare_runs([one])


def test_other_outcomes_have_pages(tmp_path):
    stages = sample.verdict()["stages"][:1]
    common = {"sentence": "What it did.", "stages": stages, "versions": {"torch": "2"}}
    figure = {"value": 0.8, "low": 0.75, "high": 0.85}
    values = {
        "headstart.pretraining/1": {"judged": [
            {"stage": "adapt", "task": "masked-lm", "measure": "perplexity",
             "before": {"perplexity": 31.25}, "after": {"perplexity": 17.5}}]},
        "headstart.tasks/1": {
            "tasks": [{"name": "stars", "test_rows": 31, "together": figure, "alone": figure,
                       "gain": {"value": 0.01, "low": -0.01, "high": 0.03, "effect": "unclear"}}],
            "worth": []},
        "headstart.meta/1": {"results": [
            {"way": "prototypes", "shots": 5, "accuracy": figure, "episodes": 97, "gain": None}]},
        "headstart.ranking/1": {"sources": [], "findings": [], "backbones": {
            "backbone": None, "judge": "hscore", "note": "", "lead": None, "candidates": [
                {"name": "mini", "kind": "backbone", "place": 1, "mean_rank": 1.5,
                 "measures": {"hscore": {"value": 0.625}, "knn": {"value": 0.7}}, "absent": {}}]}},
    }  # fmt: skip
    shown = {
        "headstart.pretraining/1": ("31.25", "17.50"),
        "headstart.tasks/1": ("80.0 [75.0, 85.0]",),
        "headstart.meta/1": ("prototypes", "97"),
        "headstart.ranking/1": ("0.625", "H-score"),
    }
    for schema, own in values.items():
        run = tmp_path / schema.replace("/", "-")
        run.mkdir()
        (run / "verdict.json").write_text(json.dumps({"schema": schema, **common, **own}))
        page = headstart.write_report(run).read_text(encoding="utf-8")
        for text in ("What it did.", "How to repeat it", *shown[schema]):
            assert text in page, (schema, text)
        assert "None" not in page


def test_a_json_file_has_its_page_beside_it(tmp_path):
    file = tmp_path / "ranking.json"
    values = {"schema": "headstart.ranking/1", "sentence": "Begin with mini.", "backbones": {}}
    file.write_text(json.dumps(values))
    assert headstart.write_report(file) == tmp_path / "ranking.html"


def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path):
    run = left(tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        headstart.write_report(run, tmp_path / "file" / "page.html")
