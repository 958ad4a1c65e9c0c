"""The commands as a user meets them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from headstart import cli
from headstart.models.network import POOLS
from headstart.recipe import Recipe
from headstart.training import loop
from tests.commands import Done, Here, finish, start, write_csv, write_reviews
from tests.conftest import reviews

COMMANDS = ("transfer", "adapt", "run", "predict", "demo", "explain", "check", "rank", "report",
            "next-labels", "export", "generate", "models", "cache")  # fmt: skip
OUTPUT = {".headstart", ".headstart.lock", "verdict.json", "report.html", "recipe.toml", "model",
          "stages"}  # fmt: skip


@pytest.fixture
def headstart(capsys, monkeypatch, tmp_path) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(capsys, monkeypatch)


@pytest.fixture
def transfer(headstart, tmp_path, tiny_bert):
    """`headstart transfer` on small files, with other options where a test says so."""

    def run(*options: object, films: str = "films.csv", shop: str = "shop.csv") -> Done:
        if not (tmp_path / "films.csv").exists():
            write_reviews(tmp_path)
        return headstart("transfer", "--source", films, "--target", shop, "--backbone", tiny_bert,
                         "--out", "out", *options)  # fmt: skip

    return run


def widest(text: str) -> int:
    return max(len(line) for line in text.splitlines())


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_teaches(headstart, command):
    done = headstart(*command, "--help")
    assert done.code == 0
    assert done.err == ""
    assert "Example" in done.out
    assert re.search(rf"^ *headstart {' '.join(command)}", done.out, re.MULTILINE)
    assert widest(done.out) <= 80
    assert headstart(*command, "-h").out == done.out


def test_every_option_is_explained():
    from typer.main import get_command

    group = get_command(cli.app)
    assert set(group.commands) == set(COMMANDS)
    for name, command in group.commands.items():
        for parameter in command.params:
            assert len(parameter.help or "") > 10, f"{name} {parameter.name}"


def test_every_pooling_stands_in_the_help(headstart):
    said = headstart("transfer", "--help").out
    for name in ("auto", "family", *POOLS):
        assert re.search(rf"\b{name}\b", said), name


def test_no_arguments_show_the_help(headstart):
    done = headstart()
    assert done.code == 2
    assert "Usage: headstart" in done.out + done.err


def test_the_version_is_told(headstart):
    assert re.fullmatch(r"headstart \d+\.\d+\.\d+\n", headstart("--version").out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transfer", "--sorce", "x"], "No such option: --sorce"),
        (["transfer", "--source", "x"], "Missing option '--target'"),
        (["trasnfer"], "No such command 'trasnfer'"),
        (["transfer", "--source", "a", "--target", "b", "--seeds", "0"], "--seeds"),
        (["transfer", "--source", "a", "--target", "b", "--labels", "many"], "--labels"),
        (["transfer", "--source", "a", "--target", "b", "--labels", "-3"], "--labels"),
        (["run"], "Missing argument"),
        (["predict", "model"], "Missing argument"),
    ],
)
def test_usage_errors(headstart, arguments, message):
    done = headstart(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert "Traceback" not in done.err


def test_transfer_prints_the_table_and_leaves_everything(transfer, tmp_path):
    done = transfer("--labels", 31)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["way", "target", "labels", "accuracy", "F1", "time"]
    ways = {"TF-IDF + logistic": 31, "frozen + logistic": 31, "target only": 31, "source only": 0,
            "source -> target": 31}  # fmt: skip
    for line, (way, labels) in zip(lines[1:6], ways.items(), strict=True):
        row = rf"{re.escape(way)} +{labels} +"
        row += r"\d+\.\d \[\d+\.\d, \d+\.\d\] +\d+\.\d +\d+(\.\d)? s( +<- winner)?"
        assert re.fullmatch(row, line)
    assert sum("<- winner" in line for line in lines) == 1
    assert "points [" in "".join(lines[6:8])
    assert "Judged on 17 test rows held out of shop.csv" in done.out
    assert "Next:\n  headstart predict out " in done.out
    assert {p.name for p in (tmp_path / "out").iterdir()} == OUTPUT
    for place in ("report.html", "verdict.json", "recipe.toml", "model"):
        assert f"  out/{place}" in done.out
        assert (tmp_path / "out" / place).exists()
    assert widest(done.out) <= 80


def test_progress_goes_to_standard_error(transfer, monkeypatch):
    monkeypatch.setattr("headstart.verdict.trials.RESTARTS", 0)
    done = transfer("--arms", "target", "--folds", 0)
    assert "source:" not in done.err, "a way without the source does not read it"
    assert "target: shop.csv, 66 rows (33 " in done.err
    assert re.search(r"test: shop\.csv, 17 rows, held out \(\d+ \w+, \d+ \w+\)", done.err)
    assert re.search(r"target: \d+/\d+, [\d,]+ tokens/s, loss \d\.\d+, \d+\.\d s", done.err)
    bars = [line for line in done.err.splitlines() if "tokens/s" in line]
    assert len(bars) == 4, "the frozen part, the head, everything, the test rows"
    assert widest("\n".join(bars)) <= 80
    assert "\x1b" not in done.err, "no colours or moves where nobody looks"


def test_json_is_the_verdict_and_nothing_else(transfer, tmp_path):
    done = transfer("--json", "--arms", "target,source", "--seeds", 2)
    assert done.code == 0
    assert done.out == (tmp_path / "out" / "verdict.json").read_text(encoding="utf-8")
    verdict = json.loads(done.out)
    assert verdict["schema"] == "headstart.verdict/2"
    assert [arm["seeds"] for arm in verdict["arms"]] == [2, 1]
    assert verdict["command"].startswith("headstart transfer --source films.csv")


def test_columns_and_maps_of_each_side(transfer, tmp_path):
    stars = {"positive": "5", "negative": "1"}
    films = [(7, text, stars[label], "x") for text, label in reviews(61, 3)]
    shop = [(text, label.upper(), text) for text, label in reviews(53, 5)]
    films[3] = (7, films[3][1], "3", "x")
    write_csv(tmp_path / "films.csv", films, ["id", "body", "grade", "title"])
    write_csv(tmp_path / "shop.csv", shop, ["what", "verdict", "more"])
    done = transfer(
        "--text", "source=body,target=what", "--label", "source=grade,target=verdict",
        "--source-map", "1=bad,5=good", "--target-map", "NEGATIVE=bad,POSITIVE=good", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    verdict = json.loads(done.out)
    assert verdict["confusion"]["classes"] == ["bad", "good"]
    assert verdict["data"]["source"]["rows"] == 60
    assert any(f["kind"] == "unmapped labels" for f in verdict["data"]["findings"])


def test_what_was_noticed_is_printed(transfer, tmp_path):
    write_reviews(tmp_path)
    rows = reviews(41, 7)
    write_csv(tmp_path / "test.csv", rows, ["review", "sentiment"])
    write_csv(tmp_path / "shop.csv", [*reviews(59, 5), *rows[:5]], ["review", "sentiment"])
    done = transfer("--test", "test.csv", "--arms", "target", "--max-length", 8)
    assert done.code == 0, done.err
    flat = " ".join(done.out.split())
    assert "Judged on the 41 test rows of test.csv" in flat
    assert re.search(r"Note: shop\.csv: 5 .*test", flat)
    assert re.search(r"Note: test\.csv: \d+ of 41 texts .*longer than 8 tokens; \d+ tokens", flat)


def test_run_checks_and_runs_a_recipe(headstart, tmp_path, tiny_bert):
    write_reviews(tmp_path)
    (tmp_path / "two.toml").write_text(
        f'backbone = "{tiny_bert}"\n'
        '[data.films]\npath = "films.csv"\n[data.shop]\npath = "shop.csv"\n'
        '[[stage]]\nname = "source"\ndata = "films"\nsteps = 3\n'
        '[[stage]]\nname = "probe"\ndata = "shop"\ntrain = "head"\nepochs = 2\n'
    )
    checked = headstart("run", "two.toml", "--check")
    assert checked.code == 0
    assert checked.out == f"two.toml: valid. Backbone {tiny_bert}; stages: source, probe.\n"
    as_json = headstart("run", "two.toml", "--check", "--json")
    assert Recipe.from_values(json.loads(as_json.out)) == Recipe.from_toml("two.toml")
    assert {p.name for p in tmp_path.iterdir()} == {"films.csv", "shop.csv", "two.toml"}
    done = headstart("run", "two.toml", "--out", "runs/two words")
    assert done.code == 0
    assert "after source" in done.out
    assert "after probe" in done.out
    assert "headstart predict 'runs/two words'" in done.out
    assert {p.name for p in (tmp_path / "runs" / "two words").iterdir()} == OUTPUT


def test_a_second_run_reuses_the_stages(transfer):
    first, second = transfer("--json", "--labels", 31), transfer("--json", "--labels", 31)
    assert "trained before, reused" in second.err
    figures = [figures_of(json.loads(done.out)) for done in (first, second)]
    assert figures[0] == figures[1]


def figures_of(verdict: dict) -> dict:
    """What must not depend on how often a run was stopped."""
    kept = {"sentence", "winner", "gain", "confusion", "mistakes", "classes"}
    values = {key: verdict[key] for key in kept}
    return values | {
        "arms": [{k: v for k, v in a.items() if k != "seconds"} for a in verdict["arms"]]
    }


@pytest.fixture
def one_thread():
    """As many threads as the commands that `start` starts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def long_job(tmp_path, tiny_bert):
    """The arguments of a job whose source stage takes some seconds."""
    films, shop = write_reviews(tmp_path, 4001, 83)
    return ["transfer", "--source", films, "--target", shop, "--backbone", tiny_bert, "--arms",
            "source", "--json"]  # fmt: skip


def stop_in_training(job: list, out: Path, number: int) -> Done:
    """Send a signal as soon as rows were read and training has begun."""
    process = start(*job, "--out", out)
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith("source: moving"):
        assert line, "the run ended before it began"
    time.sleep(0.3)
    process.send_signal(number)
    return finish(process)


@pytest.mark.usefixtures("one_thread")
def test_sigterm_saves_and_the_same_command_goes_on(
    headstart, long_job, tmp_path, own_cache, monkeypatch
):
    stopped = stop_in_training(long_job, tmp_path / "out", signal.SIGTERM)
    assert stopped.code == 143
    assert stopped.out == ""
    assert re.search(r"stopped in stage 'source' after step \d+ of \d+; the state is saved\. "
                     r"The same command goes on from there", stopped.err)  # fmt: skip
    assert "Traceback" not in stopped.err
    assert {p.name for p in (tmp_path / "out").iterdir()} == {".headstart", ".headstart.lock"}
    assert len(list((own_cache / "stages").glob("*.state"))) == 1
    again = headstart(*long_job, "--out", tmp_path / "out")
    assert again.code == 0, again.err
    assert not list((own_cache / "stages").glob("*.state"))
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "elsewhere"))
    whole = headstart(*long_job, "--out", tmp_path / "whole")
    assert figures_of(json.loads(again.out)) == figures_of(json.loads(whole.out))


def test_sigint_is_130(transfer, monkeypatch):
    real = loop.update

    def update(training, batch, step):
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        return real(training, batch, step)

    monkeypatch.setattr(loop, "update", update)
    stopped = transfer()
    assert stopped.code == 130
    assert "stopped in stage 'probe' after step 3 of 40" in stopped.err
    assert "The same command goes on from there" in stopped.err
    monkeypatch.setattr(loop, "update", real)
    assert transfer().code == 0


@pytest.fixture
def heard():
    """A shell starts what runs in the background deaf to SIGINT, and so perhaps these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_outside_of_training(headstart, monkeypatch, number, code):
    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("headstart.recipe.Recipe.from_toml", interrupted)
    before = signal.getsignal(number)
    done = headstart("run", "r.toml", "--check")
    assert done.code == code
    assert done.err.startswith("stopped; nothing half-written is left.")
    assert signal.getsignal(number) == before


def test_the_installed_script_is_this_command():
    script = Path(sys.executable).parent / "headstart"
    if not script.exists():
        pytest.skip("headstart is not installed as a script here")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("headstart ")


def test_tables_stay_within_80_columns():
    from headstart.report.text import duration, points, verdict_table

    arm = {"accuracy": {"mean": 0.8415, "low": 0.8199, "high": 0.8632}, "labels": 1_234_567,
           "macro_f1": {"mean": 0.8415}, "seconds": 3599.4}  # fmt: skip
    arms = [arm | {"name": n, "title": f"after {n}"} for n in ("a", "stage" * 20)]
    table = verdict_table({"arms": arms, "winner": "a", "sentence": "word " * 40})
    assert widest(table) <= 80
    assert "84.2 [82.0, 86.3]" in table
    assert points({"mean": 0.0, "low": -1e-17, "high": 1.0}) == "0.0 [0.0, 100.0]"
    assert [duration(s) for s in (0.04, 9.96, 59.4, 185, 3599.6, 7800)] == [
        "0.0 s", "10.0 s", "59 s", "3 min 5 s", "1 h 0 min", "2 h 10 min",
    ]  # fmt: skip
