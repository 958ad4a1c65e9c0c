"""What is exported opens elsewhere and answers the same; what would not is not left."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.export.conftest import FAMILY_SIZES, LABELS
from tests.report.sample import TEXTS, verdict

import headstart
from headstart.errors import CheckpointError, DataError, UserError
from headstart.export import folders, graph
from headstart.export.folders import FORMATS, export_model
from headstart.export.served import OnnxModel
from headstart.models.adapters import (
    Origin,
    attach,
    bare,
    merge,
    save_adapter,
    weights_digest,
)
from headstart.recipe import Bottleneck, Lora, Prefix
from headstart.training.model import open_trained


@pytest.fixture
def traced(graph_of, monkeypatch):
    """Models whose graphs are at hand, which spares tracing them again."""

    def use(family="bert", pooling="mean"):
        file = graph_of(family, pooling)
        monkeypatch.setattr(folders, "write_graph", lambda _, target: shutil.copyfile(file, target))

    pytest.importorskip("onnxruntime")
    return use


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def fault(model, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        export_model(model, *arguments, **options)
    (only,) = caught.value.faults
    return only


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILY_SIZES)
def test_transformers_opens_a_classifier_with_equal_logits(make, family, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    trained = open_trained(make(family, "family"))
    done = export_model(trained, "hf", tmp_path / "out")
    assert done.comparison.difference == 0
    assert names(done.folder) == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    theirs, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        done.folder, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert theirs.config.id2label == dict(enumerate(LABELS))
    tokenizer = transformers.AutoTokenizer.from_pretrained(done.folder)
    assert tokenizer.model_max_length == trained.max_length
    for text in texts:
        given = tokenizer(text, truncation=True, return_tensors="pt")
        with torch.no_grad():
            got = theirs.eval()(given["input_ids"], given["attention_mask"]).logits
        torch.testing.assert_close(got, trained.logits([text]), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_sentence_transformers_opens_equal_embeddings(make, family, pooling, texts, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    trained = open_trained(make(family, pooling))
    done = export_model(trained, "sentence-transformers", tmp_path / "out")
    assert done.comparison.difference == 0
    assert "headstart.json" not in names(done.folder)
    encoder = library.SentenceTransformer(str(done.folder), device="cpu")
    vectors = encoder.encode(texts, convert_to_tensor=True, show_progress_bar=False)
    head = load_file(done.folder / "head.safetensors")
    got = vectors @ head["weight"].T + head["bias"]
    torch.testing.assert_close(got, trained.logits(texts), atol=1e-4, rtol=1e-4)
    assert encoder.get_max_seq_length() == trained.max_length
    assert encoder[0].auto_model.config.id2label == dict(enumerate(LABELS))


@pytest.mark.parametrize(("family", "pooling"), [("bert", "mean"), ("roberta", "family")])
def test_an_onnx_folder_answers_as_the_model(traced, make, family, pooling, texts, tmp_path):
    traced(family, pooling)
    trained = open_trained(make(family, pooling))
    done = export_model(trained, "onnx", tmp_path / "out", texts=("texts", texts))
    assert names(done.folder) == {
        "config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert (done.comparison.rows, done.comparison.same_labels) == (len(texts), 1.0)
    assert 0 < done.comparison.difference < 1e-4
    served = OnnxModel(done.folder)
    assert served.classes == LABELS
    torch.testing.assert_close(
        torch.from_numpy(served.logits(texts)), trained.logits(texts), atol=1e-4, rtol=0
    )
    assert served.predict(texts) == trained.task.decode(trained.logits(texts))
    assert served.logits([]).shape == (0, len(LABELS))


def test_int8_is_smaller_and_near(traced, make, texts, tmp_path):
    traced()
    trained = open_trained(make("bert", "mean"))
    exact = export_model(trained, "onnx", tmp_path / "exact", texts=("texts", texts))
    small = export_model(trained, "onnx", tmp_path / "small", int8=True, texts=("texts", texts))
    sizes = [(done.folder / "model.onnx").stat().st_size for done in (exact, small)]
    weights = 4 * sum(parameter.numel() for parameter in trained.network.parameters())
    assert sizes[0] - sizes[1] > weights / 3
    assert names(small.folder) == names(exact.folder)
    assert exact.comparison.difference < small.comparison.difference < folders.INT8_TOLERANCE


@pytest.mark.parametrize("int8", [False, True])
def test_above_the_tolerance_nothing_is_left(traced, make, texts, tmp_path, int8):
    traced()
    trained = open_trained(make("bert", "mean"))
    said = fault(trained, "onnx", tmp_path / "out", int8=int8, tolerance=0.0, texts=("t", texts))
    assert "which is above the tolerance of 0; nothing is left there." in said
    assert ("Leave out int8" in said) == int8
    assert list(tmp_path.iterdir()) == []


def test_logits_that_are_no_numbers_are_never_near(trained, texts, tmp_path, monkeypatch):
    answer = torch.full((len(texts), len(LABELS)), torch.nan)
    monkeypatch.setitem(folders.ANSWERS, "hf", lambda *_: answer)
    said = fault(trained, "hf", tmp_path / "out", tolerance=1e9, texts=("t", texts))
    assert "logits differ by nan" in said
    assert list(tmp_path.iterdir()) == []


def test_logits_are_compared_on_the_mistakes_of_the_run(trained, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "verdict.json").write_text(json.dumps(verdict()))
    (tmp_path / "run" / "model").symlink_to(trained.origin)
    done = export_model(replace(trained, origin=tmp_path / "run" / "model"), "hf", tmp_path / "out")
    assert done.comparison.rows == len(verdict()["mistakes"])
    assert done.comparison.origin == "test rows that the run got wrong"
    assert TEXTS


@pytest.fixture
def tuned(make, tmp_path):
    """A model trained with LoRA: its updates merged, and the adapter beside the weights."""

    def build(adapter):
        base = open_trained(make("bert", "family"))
        origin = Origin(str(base.origin), weights_digest(base.network.backbone))
        network = base.network
        attach(network, adapter)
        own = {id(parameter) for parameter in bare(network).parameters()}
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(std=0.2) if id(parameter) not in own else None
        home = tmp_path / "model"
        (home / "adapter").mkdir(parents=True)
        moved = {name for name, p in network.named_parameters() if id(p) not in own}
        save_adapter(home / "adapter", network.eval(), adapter=adapter, moved=moved, labels=LABELS,
                     pooling="family", max_length=31, origin=origin)  # fmt: skip
        return base, home

    return build


@pytest.mark.filterwarnings("ignore")
def test_peft_opens_an_adapter_with_equal_logits(tuned, make, texts, tmp_path):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    base, home = tuned(Lora(kind="lora", rank=3))
    want = base.logits(texts)
    merge(base.network)
    for file in base.origin.iterdir():
        shutil.copyfile(file, home / file.name)
    done = export_model(replace(base, origin=home), "peft", tmp_path / "out")
    assert names(done.folder) == {
        "adapter_config.json", "adapter_model.safetensors", "config.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    config = transformers.AutoConfig.from_pretrained(done.folder)
    assert config.id2label == dict(enumerate(LABELS))
    below = transformers.AutoModelForSequenceClassification.from_pretrained(make(), config=config)
    opened = peft.PeftModel.from_pretrained(below, done.folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(done.folder)
    given = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        got = opened(given["input_ids"], given["attention_mask"]).logits
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("adapter", "kind", "said"), [
    (Prefix(kind="prefix", length=3), "hf", "--to peft gives the prefix"),
    (Prefix(kind="prefix", length=3), "onnx", "keys and values of prefix:3"),
    (Bottleneck(kind="adapter", width=5), "hf", "--to onnx gives the whole"),
    (Bottleneck(kind="adapter", width=5), "peft", "PEFT has no form"),
])  # fmt: skip
def test_what_is_carried_and_cannot_be_merged(tuned, tmp_path, adapter, kind, said):
    base, home = tuned(adapter)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert said in fault(replace(base, origin=home), kind, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_a_format_cannot_express(make, trained, tmp_path):
    mean = open_trained(make("bert", "mean"))
    said = fault(mean, "hf", tmp_path / "out")
    assert "its head reads pooling 'mean'" in said
    assert "--to sentence-transformers" in said and "--to onnx" in said
    assert "--pooling family" in said
    assert "--to hf gives the classifier" in fault(
        trained, "sentence-transformers", tmp_path / "out"
    )
    assert "holds no adapter" in fault(trained, "peft", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError):
        export_model(mean, "hf", tmp_path / "out")


def test_an_encoder_that_others_open_with_a_random_decoder(make, tmp_path):
    bart = open_trained(make("bart", "mean"))
    said = fault(bart, "sentence-transformers", tmp_path / "out")
    assert "with a random decoder. --to onnx gives the whole classifier." in said
    said = fault(bart, "hf", tmp_path / "out")
    assert said.endswith("of transformers has. --to onnx gives the whole classifier.")
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_wrong_at_once(trained, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError) as caught:
        export_model(trained, "onxn", file, tolerance=-1)
    assert caught.value.faults == (
        "--to: no format is called 'onxn'. Did you mean 'onnx'? Known: hf, onnx, peft, "
        "sentence-transformers.",
        "--tolerance: must be 0 or more; got -1.",
        f"--out: {file} is a file. Give a new folder.",
    )
    assert "--int8: is for --to onnx" in fault(trained, "hf", tmp_path / "out", int8=True)


def test_a_folder_in_use_is_left_alone(trained, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    assert "is not empty (it holds mine.txt)" in fault(trained, "hf", tmp_path)
    assert names(tmp_path) == {"mine.txt"}
    (tmp_path / "empty").mkdir()
    assert export_model(trained, "hf", tmp_path / "empty").folder == tmp_path / "empty"


def test_packages_that_are_not_installed(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert fault(trained, "onnx", tmp_path / "out") == (
        "onnx: needs onnxruntime, which is not installed. pip install 'headstart[onnx]'"
    )
    monkeypatch.setattr(graph, "find_spec", lambda name: None)
    assert "needs onnx, onnxruntime, onnxscript, which are not" in fault(
        trained, "onnx", tmp_path / "out"
    )


def test_from_python(make, texts, tmp_path):
    model = headstart.load(make())
    done = model.export("hf", tmp_path / "out", rows=texts[:5])
    assert (done.comparison.rows, done.comparison.origin) == (5, "rows given")
    with pytest.raises(DataError):
        model.export("hf", tmp_path / "other", rows=tmp_path / "nowhere.csv")
    assert sorted(FORMATS) == ["hf", "onnx", "peft", "sentence-transformers"]
