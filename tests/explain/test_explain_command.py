"""headstart explain as its users meet it, on a run of a tiny backbone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.commands import Here, write_csv
from tests.conftest import FILLER, PRODUCT, reviews
from tests.data.layouts import MAKERS
from tests.explain.conftest import classifier

import headstart
from headstart.data.text import Tokenizer
from headstart.errors import DataError, UserError
from headstart.explain import attribution
from headstart.explain.opening import ways
from headstart.training.model import save_trained

TEXT = "the camera was great and the cable was dull"


@pytest.fixture(scope="module")
def run(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that learned the words of the reviews."""
    out = tmp_path_factory.mktemp("run") / "shop"
    recipe = {
        "backbone": str(tiny_bert),
        "pooling": "mean",
        "data": {"films": {"path": "f"}, "shop": {"path": "s"}},
        "stage": [
            {"name": "source", "data": "films", "epochs": 9, "batch_tokens": 64,
             "learning_rate": 3e-3},
            {"name": "target", "data": "shop", "epochs": 2, "batch_tokens": 64},
            {"name": "tune", "data": "shop", "epochs": 2, "batch_tokens": 64},
        ],
    }  # fmt: skip
    data = {"films": reviews(211, 3, FILLER), "shop": reviews(61, 5, PRODUCT)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))
        headstart.run(recipe, data=data, out=out, progress=False)
    return out


@pytest.fixture
def shop(tmp_path) -> Path:
    return write_csv(tmp_path / "shop.csv", reviews(43, 11, PRODUCT), ("text", "label"))


@pytest.fixture
def here(capsys, monkeypatch) -> Here:
    return Here(capsys, monkeypatch)


def test_the_words_that_tell_the_class_are_found(run, here):
    done = here("explain", run, "the camera was great and very fun", "--json")
    assert done.code == 0, done.err
    values = json.loads(done.out)
    (text,) = values["texts"]
    assert text["prediction"] == text["explained"] == "positive"
    scores = {word["text"]: word["score"] for word in text["words"]}
    assert {"great", "fun"} & set(sorted(scores, key=scores.get)[-2:])
    best, *_, chance = values["faithfulness"]["methods"]
    assert values["method"]["chosen"] and values["method"]["name"] == best["name"]
    assert chance["name"] == "random" and chance["score"] == pytest.approx(0.5)
    assert best["score"] > 0.7


def test_text_for_people_says_which_method_and_how_faithful(run, here):
    done = here("explain", run, TEXT)
    assert done.code == 0
    assert "\x1b" not in done.out and max(map(len, done.out.splitlines())) <= 80
    assert not any(line != line.rstrip() for line in done.out.splitlines())
    said = " ".join(done.out.split())
    assert "Scores: " in said and "Faithfulness" in said and "random scores 0.50" in said


def test_a_file_is_explained_row_by_row(run, here, shop):
    done = here("explain", run, shop, "--rows", "2", "--method", "occlusion", "--json")
    rows = json.loads(done.out)["texts"]
    assert [text["row"] for text in rows] == [2, 3]


def test_what_transfer_changed(run, here, shop, tmp_path):
    page = tmp_path / "why.html"
    done = here("explain", run, TEXT, "--before", "source", "--before", "target", "--train", shop,
                "--attention", "--html", page, "--json")  # fmt: skip
    assert done.code == 0, done.err
    values = json.loads(done.out)
    (text,) = values["texts"]
    assert [other["name"] for other in text["before"]] == ["source", "target"]
    assert all(len(other["scores"]) == len(text["words"]) for other in text["before"])
    moved = text["before"][0]["moved"]
    gaps = [abs(word["after"] - word["before"]) for word in moved]
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > 0
    assert values["method"]["signed"], "models are compared by scores that have a sign"
    (seen,) = text["attention"]
    assert torch.tensor(seen["weights"]).shape == (3, 5, len(text["tokens"]), len(text["tokens"]))
    layers = values["layers"]
    assert list(layers["similarity"]) == ["backbone", "source", "target"]
    assert all(len(column) == 4 for column in layers["similarity"].values())
    assert layers["similarity"]["source"][0] > layers["similarity"]["backbone"][-1]
    assert list(layers["probing"]) == ["shop", "backbone", "source", "target"]
    last = {name: column[-1]["accuracy"] for name, column in layers["probing"].items()}
    assert last["shop"] > last["backbone"]
    near = text["neighbours"]
    assert [one["similarity"] for one in near] == sorted((n["similarity"] for n in near),
                                                         reverse=True)  # fmt: skip
    assert near[0]["label"] in ("positive", "negative") and near[0]["row"] >= 2
    assert "<!doctype html>" in page.read_text()


def test_words_that_drive_each_class(run, here, tmp_path):
    shop = write_csv(tmp_path / "shop.csv", reviews(97, 11, PRODUCT), ("text", "label"))
    done = here("explain", run, shop, "--words", "--before", "target", "--method", "occlusion",
                "--json")  # fmt: skip
    assert done.code == 0, done.err
    values = json.loads(done.out)
    assert values["texts"] == []
    words = values["words"]
    assert (words["texts"], words["of"]) == (97, 97)
    negative, positive = words["classes"]
    assert (negative["name"], positive["name"]) == ("negative", "positive")
    found = {word["word"] for word in positive["drivers"]["shop"]}
    assert found & {"great", "lovely", "superb", "charming", "fun"}
    assert not found & {"awful", "dull", "broken", "boring", "poor"}
    assert "target" in positive["disagreements"] and not negative["disagreements"]
    shown = here("explain", run, shop, "--words", "--method", "occlusion").out
    assert "positive, in shop:" in shown


def test_a_training_text_is_its_own_nearest(run):
    rows = reviews(43, 11, PRODUCT)
    model = headstart.load(run)
    (text,) = model.explain(rows[5][0], method="occlusion", train=rows).values["texts"]
    assert text["neighbours"][0]["text"] == rows[5][0]
    assert text["neighbours"][0]["similarity"] == pytest.approx(1, abs=1e-4)


def test_from_python(run, tmp_path):
    model = headstart.load(run)
    source = headstart.load(ways(run)["source"])
    found = model.explain([TEXT], method="occlusion", class_name="negative",
                          before={"films": source, "again": run})  # fmt: skip
    (text,) = found.values["texts"]
    assert text["explained"] == "negative"
    again = text["before"][1]
    assert again["scores"] == pytest.approx([word["score"] for word in text["words"]], abs=1e-5)
    assert json.loads(found.to_json()) == json.loads(json.dumps(found.values))
    found.write_html(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text() == found.html()
    assert "in films:" in str(found)


def test_the_same_question_has_the_same_answer(run):
    first, second = (headstart.load(run).explain(TEXT).values for _ in range(2))
    assert first == second


def test_any_classifier_of_transformers_can_be_explained(tiny_bert, here, tmp_path):
    hf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = hf.AutoConfig.from_pretrained(tiny_bert, num_labels=3)
    folder = tmp_path / "theirs"
    hf.BertForSequenceClassification(config).save_pretrained(folder)
    shutil.copy(tiny_bert / "tokenizer.json", folder)
    done = here("explain", folder, TEXT, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["model"]["classes"] == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_attention_of_a_model_that_is_no_classifier(tiny_bert, here):
    done = here("explain", tiny_bert, TEXT, "--attention", "--json")
    assert done.code == 0, done.err
    values = json.loads(done.out)
    assert values["method"] is None and values["texts"][0]["attention"][0]["rollout"]
    assert "looks at" not in here("explain", tiny_bert, TEXT, "--attention").out


def test_attention_of_a_model_that_reads_and_writes(here, tmp_path):
    hf = pytest.importorskip("transformers")
    folder = MAKERS["t5"](tmp_path)
    vocabulary = Tokenizer.open(folder).vocab_size
    torch.manual_seed(0)
    config = hf.T5Config(vocab_size=vocabulary, d_model=23, d_kv=5, d_ff=31, num_layers=3,
                         num_decoder_layers=2, num_heads=3, decoder_start_token_id=0)  # fmt: skip
    hf.T5ForConditionalGeneration(config).save_pretrained(folder)
    done = here("explain", folder, "the cat sat", "--attention", "--json")
    assert done.code == 0, done.err
    parts = json.loads(done.out)["texts"][0]["attention"]
    assert [part["kind"] for part in parts] == ["encoder", "decoder", "cross"]
    encoder, decoder, cross = parts
    assert cross["queries"] == decoder["keys"] and cross["keys"] == encoder["keys"]
    weights = torch.tensor(cross["weights"])
    assert weights.shape == (2, 3, len(cross["queries"]), len(cross["keys"]))
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]), atol=1e-2, rtol=0)
    assert cross["rollout"] is None and encoder["rollout"] is not None


def test_attention_of_an_image(here, tmp_path):
    hf = pytest.importorskip("transformers")
    from PIL import Image

    sizes = {"hidden_size": 22, "num_hidden_layers": 3, "num_attention_heads": 2,
             "intermediate_size": 31, "image_size": 15, "patch_size": 5}  # fmt: skip
    hf.ViTModel(hf.ViTConfig(**sizes)).save_pretrained(tmp_path / "vit")
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 15, "width": 15}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(settings))
    Image.new("RGB", (31, 17), (90, 40, 10)).save(tmp_path / "a.png")
    done = here("explain", tmp_path / "vit", tmp_path / "a.png", "--attention", "--json")
    assert done.code == 0, done.err
    (seen,) = json.loads(done.out)["texts"][0]["attention"]
    assert (seen["kind"], seen["grid"]) == ("image", [3, 3])
    assert len(seen["queries"]) == 10 and seen["queries"][-1] == "3,3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "text 1: is empty, so there is nothing to explain"),
        (["a", " "], "text 2: is empty"),
        ([TEXT, "--method", "ocluson"], "no method is called 'ocluson'. Did you mean 'occlusion'"),
        ([TEXT, "--class", "postive"], "no class of the model is called 'postive'. Did you mean"),
        ([TEXT, "--before", "sorce"], "neither a folder nor a way of the run"),
        ([TEXT, "--words"], "--words: needs a FILE"),
        (["nowhere.csv"], "nowhere.csv"),
        ([TEXT, "--method", "relevance", "--before", "source"], "does not say what speaks against"),
        (["a.csv", "b.csv"], "a.csv: is a file among 2 arguments"),
    ],
)
def test_what_cannot_be_is_said(run, here, arguments, message):
    done = here("explain", run, *arguments)
    assert done.code == 2, done.out
    assert message in " ".join(done.err.split())
    assert "Traceback" not in done.err and not done.out


def test_a_model_that_is_no_classifier_is_told_what_to_do(tiny_bert, here):
    done = here("explain", tiny_bert, TEXT)
    assert done.code == 2
    said = " ".join(done.err.split())
    assert "is no classifier of texts" in said and "--attention" in said


def test_a_long_text_is_cut_and_that_is_told(run, here):
    done = here("explain", run, "plot " * 50 + "great", "--method", "occlusion")
    assert done.code == 0
    assert "not read: 16 words; the text has 53 tokens, and the model reads 37" in done.out


def test_a_backbone_that_is_gone_is_noted(tiny_bert, tmp_path):
    trained = classifier(tiny_bert)
    trained.provenance["backbone"] = str(tmp_path / "gone")
    (tmp_path / "model").mkdir()
    save_trained(trained, tmp_path / "model", ["a"])
    rows = [(text, label.replace("positive", "good")) for text, label in reviews(17, 3)]
    found = headstart.load(tmp_path / "model").explain("plot", method="occlusion", train=rows)
    assert any("backbone was left out" in note for note in found.values["notes"])
    assert found.values["layers"]["similarity"] == {}


def test_faults_of_what_is_given_are_told_together(run):
    model = headstart.load(run)
    with pytest.raises(UserError) as caught:
        model.explain(TEXT, before={"a": "no/such"}, words="nowhere.csv")
    assert len(caught.value.faults) >= 2
    with pytest.raises(DataError, match="no text was given"):
        model.explain([])
    with pytest.raises(DataError, match="Pairs of texts cannot be explained"):
        model.explain([("a plot", "a film")])
    with pytest.raises(UserError, match="names of their own"):
        model.explain(TEXT, before={"model": model})


def test_without_captum_auto_says_what_was_not_tried(run, here, monkeypatch):
    monkeypatch.setattr(attribution, "find_spec", lambda name: None)
    done = here("explain", run, TEXT)
    assert done.code == 0 and "integrated gradients was not tried" in done.out
    assert "headstart[explain]" in here("explain", run, TEXT, "--method",
                                        "integrated-gradients").err  # fmt: skip
