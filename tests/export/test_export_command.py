"""headstart export, as its users type it."""

from __future__ import annotations

import shutil

import pytest
from tests.commands import Here, write_csv

from headstart.export import folders, graph


@pytest.fixture
def run(make, tmp_path):
    """The folder that a run leaves."""
    shutil.copytree(make(), tmp_path / "shop" / "model")
    return tmp_path / "shop"


@pytest.fixture
def headstart(capsys, monkeypatch):
    return Here(capsys, monkeypatch)


def test_a_run_is_exported_beside_itself(headstart, run, tmp_path):
    rows = [["a great phone"], ["the cable was broken"], ["very fun"]]
    file = write_csv(tmp_path / "rows.csv", rows, ["text"])
    done = headstart("export", run, "--to", "hf", "--rows", file)
    assert (done.code, done.err) == (0, "")
    place = tmp_path / "shop-hf"
    assert done.out.splitlines() == [
        f"3 texts ({file}): logits differ by 0 at most, 100.0 % of the labels are the same",
        f"{place}/",
    ]
    assert (place / "config.json").exists()


def test_an_int8_graph(headstart, make, tmp_path, graph_of, monkeypatch):
    pytest.importorskip("onnxruntime")
    traced = graph_of("bert", "mean")
    monkeypatch.setattr(folders, "write_graph", lambda _, file: shutil.copyfile(traced, file))
    place = tmp_path / "small"
    done = headstart("export", make("bert", "mean"), "--to", "onnx", "--int8", "--out", place)
    assert (done.code, done.err) == (0, "")
    assert "6 texts (made-up; give rows of yours with --rows): logits differ by 0.0" in done.out
    assert (place / "model.onnx").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["--to", "tf"], "no format is called 'tf'."),
    (["--to", "hff"], "Did you mean 'hf'?"),
    (["--to", "sentence_transformers"], "Did you mean 'sentence-transformers'?"),
    (["--to", "hf", "--int8"], "--int8: is for --to onnx"),
    (["--to", "peft"], "holds no adapter"),
    (["--to", "hf", "--rows", "nowhere.csv"], "nowhere.csv"),
    (["--to", "hf", "--tolerance", "-1"], "--tolerance: must be 0 or more"),
])  # fmt: skip
def test_wrong_input_is_told_and_nothing_is_left(headstart, run, tmp_path, arguments, said):
    done = headstart("export", run, *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_a_folder_that_is_no_model(headstart, run, tmp_path):
    done = headstart("export", tmp_path / "shp", "--to", "hf")
    assert done.code == 2
    assert "there is no such folder" in done.err and "Did you mean 'shop'?" in done.err
    (tmp_path / "empty").mkdir()
    done = headstart("export", tmp_path / "empty", "--to", "hf")
    assert (done.code, done.out) == (2, "")
    assert "holds no headstart.json" in done.err


def test_a_place_in_use(headstart, run, tmp_path):
    (tmp_path / "shop-hf").mkdir()
    (tmp_path / "shop-hf" / "mine.txt").write_text("precious")
    done = headstart("export", run, "--to", "hf")
    assert done.code == 2
    assert "is not empty (it holds mine.txt); nothing there was touched" in done.err


def test_without_the_packages(headstart, run, monkeypatch):
    monkeypatch.setattr(graph, "find_spec", lambda name: None)
    done = headstart("export", run, "--to", "onnx")
    assert done.code == 2
    assert "pip install 'headstart[onnx]'" in done.err


def test_help(headstart):
    done = headstart("export", "--help")
    assert done.code == 0
    assert "headstart[onnx]" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
