"""What a model's card says, and what it keeps to itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from tests.export.conftest import LABELS, SENTENCE
from tests.report.sample import hostile, verdict

from headstart.export.card import model_card, read_verdict
from headstart.export.private import hub_name, public_provenance, public_settings
from headstart.training.model import open_trained


def test_the_hub_reads_the_front_matter(trained):
    data = ModelCard(model_card(trained, "anna/shop", verdict(), license_name="mit")).data
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-classification"
    assert data.base_model == "google-bert/bert-base-uncased"
    assert data.license == "mit"
    assert data.model_name == "shop"
    results = {result.metric_type: result for result in data.eval_results}
    assert results["accuracy"].metric_value == 0.881
    assert results["f1"].metric_value == 0.873
    assert {result.dataset_name for result in data.eval_results} == {"shop_reviews.csv"}


def test_nothing_is_said_of_what_is_not_known(make):
    trained = replace(open_trained(make("distilbert", "mean")), provenance={})
    card = ModelCard(model_card(trained, "shop"))
    assert card.data.library_name == "sentence-transformers"
    assert card.data.to_dict().keys() == {"library_name", "pipeline_tag", "tags"}
    assert "## What it" not in card.text
    assert "## Limits" in card.text


def test_the_verdict_is_told_with_its_intervals(trained):
    text = model_card(trained, "anna/shop", verdict())
    assert SENTENCE.replace("[", "\\[").replace("]", "\\]") in text
    row = "| source → target | 256 | 88.1 \\[86.0, 89.9\\] | 87.3 \\[85.0, 89.2\\] | this model |"
    assert row in text
    assert "| target only | 256 | 84.7" in text
    assert "On 1,000 test rows of shop\\_reviews.csv, held out" in text
    assert "The weakest class is `negative`: precision 85.9 %, recall 84.4 % on 404 rows." in text
    assert "| source | movie\\_reviews.csv | 10,072 | everything | 2 epochs |" in text
    assert "| tune | shop.csv | 257 | the head | 127 steps |" in text
    assert "A text of more than 31 tokens is cut" in text
    assert "classes: `bad`, `fair | so-so`, `good`." in text


def test_without_the_run_the_model_still_knows_its_own_figures(trained):
    text = model_card(trained, "shop")
    assert "| source → target | 256 | 88.1" in text
    assert "target only |" not in text


def test_no_text_and_no_path_is_told(trained):
    values = verdict()
    text = model_card(trained, "anna/shop", values)
    assert "anna/data" not in text
    assert "secret" not in text
    assert not any(mistake["text"] in text for mistake in values["mistakes"])


def test_names_are_text_and_nothing_else(trained):
    text = model_card(trained, "anna/shop", hostile())
    assert "<script>" not in text.replace('`"><script>alert(2)</script>`', "")
    assert ModelCard(text).data.model_name == "shop"


def test_labels_with_backticks_stay_whole(trained):
    task = replace(trained.task, labels=("a`b", "``", *LABELS))
    assert "`` a`b ``, ``` `` ```, `bad`" in model_card(replace(trained, task=task), "shop")


def test_the_verdict_beside_the_model_is_read_if_it_is_this_models(trained, tmp_path):
    here = replace(trained, origin=tmp_path / "model")
    assert read_verdict(here) is None
    file = tmp_path / "verdict.json"
    file.write_text(json.dumps(verdict()))
    assert read_verdict(here) == verdict()
    file.write_text(json.dumps(verdict() | {"sentence": "of another run"}))
    assert read_verdict(here) is None
    file.write_text("{")
    assert read_verdict(here) is None


@pytest.mark.parametrize(("given", "hub"), [
    ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
    ("bert-base-uncased", "bert-base-uncased"),
    ("thenlper/gte-small", "thenlper/gte-small"),
    ("/home/anna/bert", None),
    ("../bert", None),
    ("~/bert", None),
    ("C:\\models\\bert", None),
    ("my-own-bert", None),
])  # fmt: skip
def test_a_backbone_is_a_hub_name_or_a_folder(given, hub):
    assert hub_name(given) == hub


def test_a_folder_that_looks_like_a_hub_name_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub_name("models/bert") == "models/bert"
    (tmp_path / "models" / "bert").mkdir(parents=True)
    assert hub_name("models/bert") is None


def test_provenance_without_paths(trained):
    before = json.dumps(trained.provenance)
    given = trained.provenance | {"backbone": "/home/anna/bert", "more": [{"log": "~/x/run.log"}]}
    public = public_provenance(given)
    assert json.dumps(trained.provenance) == before
    assert public["backbone"] == "bert"
    assert [stage["data"] for stage in public["stages"]] == ["movie_reviews.csv", "shop.csv"]
    assert public["more"] == [{"log": "run.log"}]
    assert public["verdict"] == trained.provenance["verdict"]


def test_settings_keep_all_but_the_places():
    given = {"name_or_path": "/home/anna/bert", "base_model_name_or_path": "thenlper/gte-small",
             "added_tokens_decoder": {"0": {"content": "/r/x"}}, "extra": ["/a/b"]}  # fmt: skip
    want = given | {"name_or_path": "bert"}
    assert public_settings(given) == want
