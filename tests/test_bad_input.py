"""What can be wrong with the input, through the command: one clear message, exit 2, nothing left.

The messages' wording belongs to the parts that raise them; here stands what a user needs from each:
the place, what was found, and what to do.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.training import model as saved_model
from headstart.verdict import output
from tests.commands import Done, Here, write_csv, write_reviews
from tests.conftest import PRODUCT, reviews

HEADER = ("review", "sentiment")
HELD = {".headstart", ".headstart.lock"}


@pytest.fixture
def headstart(capsys, monkeypatch, tmp_path) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(capsys, monkeypatch)


@pytest.fixture
def transfer(headstart, tmp_path, tiny_bert):
    """`headstart transfer` from films.csv to shop.csv, both good where a test wrote no other."""

    def run(*options: object) -> Done:
        good = tmp_path / "good"
        good.mkdir(exist_ok=True)
        for file in write_reviews(good):
            if not (tmp_path / file.name).exists():
                shutil.copy(file, tmp_path)
        backbone = () if "--backbone" in options else ("--backbone", tiny_bert)
        return headstart("transfer", "--source", "films.csv", "--target", "shop.csv", *backbone,
                         "--out", "out", *options)  # fmt: skip

    return run


def refused(done: Done, *messages: str) -> None:
    """Exit 2, a message that holds all that is asked, and no result."""
    assert done.code == 2, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "error: " in done.err
    for message in messages:
        assert re.search(message, done.err), done.err


def nothing_left(folder: Path) -> None:
    """An output folder is not there, or holds its marks alone."""
    assert not folder.exists() or {p.name for p in folder.iterdir()} <= HELD


def number_of_errors(done: Done) -> int:
    return done.err.count("error: ")


def raw(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def rows(labels: list[object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        texts = [text for text, _ in reviews(len(labels), 5, PRODUCT)]
        write_csv(path, list(zip(texts, labels, strict=True)), HEADER)

    return write


GOOD_LINE = b"the phone was great,positive\nthe phone was awful,negative\n"
FILES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "empty": (raw(b""), [r"shop\.csv.*empty"]),
    "header alone": (raw(b"review,sentiment\n"), [r"shop\.csv.*no rows"]),
    "broken row": (
        raw(b"review,sentiment\n" + GOOD_LINE + b"good, but dear,positive\n" + GOOD_LINE),
        [r"shop\.csv, row 4", r"3 fields", r"header has 2", r"double quotes"],
    ),
    "unclosed quote": (
        raw(b"review,sentiment\n" + GOOD_LINE + b'"it broke,negative\n' + GOOD_LINE * 9),
        [r"shop\.csv, row 4", r"quote"],
    ),
    "wrong encoding": (
        raw(b"review,sentiment\n" + GOOD_LINE + b"caf\xe9 was dear,negative\n"),
        [r"shop\.csv, line 4", r"not UTF-8", r"byte 78", r"cp1252", r"iconv -f cp1252 -t utf-8"],
    ),
    "NUL bytes": (
        raw(b"review,sentiment\n" + GOOD_LINE + b"br\0ken,negative\n"),
        [r"shop\.csv, line 4", r"NUL byte", r"byte 77", r"tr -d"],
    ),
    "one class": (
        rows(["positive"] * 41),
        [r"shop\.csv, column 'sentiment'", r"'positive'", r"--label"],
    ),
    "5,000 classes": (
        rows([f"id{i}" for i in range(5000)]),
        [r"shop\.csv, column 'sentiment'", r"5,000 classes", r"probably an id", r"--label"],
    ),
    "missing labels": (
        rows(["positive", "negative", "", *["positive", "negative"] * 20, ""]),
        [
            r"shop\.csv, column 'sentiment'",
            r"2 labels.* missing|2 .*rows.* without",
            r"\b4\b.*\b45\b",
        ],
    ),
    "10 MB in one row": (
        raw(b"review,sentiment\n" + GOOD_LINE + b"long " * 2_000_000 + b",negative\n"),
        [r"shop\.csv, row 4", r"10,000,000|10,000,0\d\d|9,999,999", r"1,000,000"],
    ),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_file_at_fault(transfer, tmp_path, fault):
    make, messages = FILES[fault]
    make(tmp_path / "shop.csv")
    done = transfer()
    refused(done, *messages)
    assert number_of_errors(done) == 1
    nothing_left(tmp_path / "out")


def test_a_missing_file(transfer, tmp_path):
    done = transfer("--target", "shopp.csv")
    refused(done, r"shopp\.csv: there is no such file", r"Did you mean 'shop\.csv'")
    nothing_left(tmp_path / "out")


def test_faults_of_several_files_are_told_at_once(transfer, tmp_path):
    (tmp_path / "films.csv").write_bytes(b"")
    (tmp_path / "shop.csv").write_bytes(b"review,sentiment\nbr\0ken,negative\n")
    refused(transfer("--test", "nowhere.csv"), r"films\.csv", r"shop\.csv, line 2", r"nowhere\.csv")


def test_stars_against_words_and_the_suggested_map_works(transfer, tmp_path):
    stars = {"positive": ("4", "5"), "negative": ("1", "2")}
    found = [(text, stars[label][i // 2 % 2]) for i, (text, label) in enumerate(reviews(84, 5))]
    write_csv(tmp_path / "shop.csv", [*found, ("so so", "3"), ("so, so", "3")], HEADER)
    done = transfer()
    refused(done, "'negative', 'positive'", "'1', '2'", "--arms target,source\\+target")
    suggested = re.search(r"--target-map (\S+?)[;.]? ", done.err)
    assert suggested, done.err
    words = dict(pair.split("=") for pair in suggested[1].split(","))
    assert words["1"] == "negative"
    assert words["5"] == "positive"
    nothing_left(tmp_path / "out")
    again = transfer("--target-map", suggested[1], "--labels", 17)
    assert again.code == 0, again.err


def test_classes_that_are_not_shared(transfer, tmp_path):
    swap = {"positive": "good", "negative": "negative"}
    write_csv(tmp_path / "shop.csv", [(t, swap[y]) for t, y in reviews(83, 5)], HEADER)
    done = transfer()
    refused(done, "'good'", "'positive'", "-map ", "--arms target,source\\+target")
    nothing_left(tmp_path / "out")
    assert transfer("--arms", "target,source+target").code == 0


def test_more_labels_than_there_are(transfer, tmp_path):
    refused(transfer("--labels", 1000), r"--labels asks for 1,000", r"66 .*are left", "or fewer")
    nothing_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("sentence-transformers/all-MiniLM-L6-v3", [r"Did you mean '.*MiniLM-L6-v2'", "hub"]),
        ("bert-base-uncasd", ["Did you mean 'bert-base-uncased'", "hub"]),
        ("./tiny-brt", [r"there is no such folder", "Did you mean 'tiny-bert'"]),
        ("films.csv", ["is a file", r"config\.json"]),
        ("good", [r"good.config\.json: is missing"]),
    ],
)
def test_an_unknown_backbone(transfer, tmp_path, name, messages):
    (tmp_path / "tiny-bert").mkdir()
    refused(transfer("--backbone", name), *messages)
    nothing_left(tmp_path / "out")


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def corrupt_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:8] + b"\xff" * 64 + file.read_bytes()[72:])


def corrupt_values(file: Path) -> None:
    """A run of values that are no numbers, as a bad disk leaves them."""
    data = bytearray(file.read_bytes())
    data[-400:] = b"\xff" * 400
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, corrupt_header, corrupt_values])
def test_damaged_weights(transfer, tmp_path, tiny_bert, damage):
    copy = shutil.copytree(tiny_bert, tmp_path / "bert")
    damage(copy / "model.safetensors")
    refused(transfer("--backbone", copy), r"bert.*(truncated or damaged|file is damaged)")
    nothing_left(tmp_path / "out")


def test_a_recipe_with_three_faults(headstart, tmp_path):
    (tmp_path / "three.toml").write_text(
        'pooling = "men"\n[data.shop]\npath = "shop.csv"\n'
        '[[stage]]\nname = "probe"\ndata = "shpo"\nepochs = 1\n'
        '[[stage]]\nname = "tune"\ndata = "shop"\nepochs = 1\nlearning_rte = 0.1\n'
    )
    for options in (["--check"], ["--out", "out"]):
        done = headstart("run", "three.toml", *options)
        refused(
            done,
            r"three\.toml, pooling: .*'men'.*Did you mean 'mean'",
            r"three\.toml, stage\[0\]\.data: .*'shpo'.*Did you mean 'shop'",
            r"three\.toml, stage\[1\]: .*'learning_rte'.*Did you mean 'learning_rate'",
        )
        assert number_of_errors(done) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["three.toml"]


def test_a_recipe_that_is_not_there_or_no_toml(headstart, tmp_path):
    (tmp_path / "shop.toml").write_text("backbone = \n")
    refused(headstart("run", "shp.toml"), r"no such recipe file\. Did you mean 'shop\.toml'")
    refused(headstart("run", "shop.toml"), r"shop\.toml: is not valid TOML.*line 1")


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["--source-map", "good"], ["--source-map: 'good' is no OLD=NEW", "1=negative,5=positive"]),
        (["--target-map", "1=a,1=b"], ["--target-map: '1' is given twice, as 'a' and as 'b'"]),
        (["--target-map", "1=a,5=b"], [r"shop\.csv", "'positive'|positive"]),
        (["--text", "sorce=a"], ["--text: no data set is called 'sorce'. Did you mean 'source'"]),
        (["--label", "sentimnt"], [r"no column 'sentimnt'", "sentiment"]),
        (["--arms", "target,sorce"], ["no way is called 'sorce'. Did you mean 'source'"]),
        (["--pooling", "men"], ["'men'. Did you mean 'mean'"]),
        (["--max-length", "64"], ["64 tokens do not fit", "37 positions"]),
    ],
)
def test_options_at_fault(transfer, tmp_path, options, messages):
    refused(transfer(*options), *messages)
    nothing_left(tmp_path / "out")


def test_an_output_folder_that_is_not_ours(transfer, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    refused(transfer(), r"out: holds files that no run of headstart left \(thesis\.tex", "--out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    assert (tmp_path / "out" / "thesis.tex").read_text() == "precious"


def test_an_output_folder_that_is_a_file(transfer, tmp_path):
    refused(transfer("--out", "good/films.csv"), r"good/films\.csv: is a file\. Give a folder")


def test_two_runs_in_one_folder_at_once(transfer, tmp_path):
    with output.output_folder(tmp_path / "out"):
        refused(transfer(), r"out: another run is at work in this folder", "another --out")
    assert transfer("--arms", "target").code == 0


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(transfer, tmp_path, monkeypatch, own_cache):
    with monkeypatch.context() as patch:
        patch.setattr(saved_model, "save_network", full)
        refused(transfer(), "the disk is full", "MB free", "--out or HEADSTART_CACHE")
    nothing_left(tmp_path / "out")
    assert not [p for p in (own_cache / "stages").iterdir() if p.is_dir()]
    assert transfer("--arms", "target").code == 0


def test_a_disk_that_fills_up_at_the_end(transfer, tmp_path, monkeypatch):
    """The stages are trained and kept in the cache; the output folder takes no more."""
    real = tempfile.mkstemp

    def mkstemp(*arguments, prefix, **options):
        return full() if "report" in prefix else real(*arguments, prefix=prefix, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", mkstemp)
        done = transfer("--arms", "target")
        assert not (tmp_path / "out" / "verdict.json").exists(), "it comes last"
    refused(done, "the disk is full")
    done = transfer("--arms", "target")
    assert done.code == 0
    assert "target: trained before, reused" in done.err


def test_a_small_disk_for_real(transfer, tmp_path):
    """A file system of 64 kB, where this machine lets us make one."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting takes root")
    try:
        done = transfer("--out", small / "out", "--arms", "target")
        refused(done, "the disk is full")
        left = {p.name for p in (small / "out").iterdir()}
        assert "verdict.json" not in left
        assert not any(name.startswith(".model") for name in left)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_file_that_may_not_be_read(transfer, tmp_path, monkeypatch):
    real = Path.open

    def locked(self: Path, *arguments, **options):
        if str(self) == "shop.csv":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", locked)
    refused(transfer(), r"shop\.csv.*[Pp]ermission denied")
