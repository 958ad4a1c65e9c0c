"""What to start from, whole: tiny backbones, easy reviews, wrong input, the command."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.commands import Here, write_csv
from tests.conftest import BAD, FILLER, GOOD, PRODUCT
from torch import Tensor

import headstart
from headstart.commands.rank import BY, rank_command
from headstart.data.examples import examples
from headstart.data.table import read
from headstart.data.text import Tokenizer
from headstart.errors import UserError
from headstart.evaluation import transferability
from headstart.evaluation.intervals import Interval
from headstart.models.checkpoint import open_checkpoint
from headstart.models.families import FAMILIES
from headstart.models.vit import Vit, VitConfig
from headstart.recipe import Recipe
from headstart.report.ranking import order_table, ranking_text, tails
from headstart.training import embedding
from headstart.training.embedding import layer_vectors
from headstart.training.stage import Workshop
from headstart.verdict import ranking as ranking_module
from headstart.verdict.order import JUDGES, Candidate, Score, in_order, title

HEADER = ("review", "sentiment")


@pytest.fixture
def here(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return Here(capsys, monkeypatch)


def changed(folder: Path, tiny_bert: Path, change: Callable[[Tensor], None]) -> Path:
    """The tiny BERT with other embeddings of words, (V, D) in the order of its tokenizer."""
    shutil.copytree(tiny_bert, folder)
    weights = load_file(folder / "model.safetensors")
    (name,) = (n for n in weights if n.endswith("word_embeddings.weight"))
    change(weights[name])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def wise_bert(tiny_bert, tmp_path_factory) -> Path:
    """The tiny BERT as if it had read much: what is good lies apart from what is bad."""
    direction = torch.randn(20, generator=torch.Generator().manual_seed(5))

    def teach(words: Tensor) -> None:
        words[4:9] += 2 * direction  # GOOD comes behind four special tokens, BAD behind GOOD
        words[9:14] -= 2 * direction

    return changed(tmp_path_factory.mktemp("wise") / "wise-bert", tiny_bert, teach)


@pytest.fixture(scope="module")
def deaf_bert(tiny_bert, tmp_path_factory) -> Path:
    """The tiny BERT with all words alike: it can tell nothing."""

    def forget(words: Tensor) -> None:
        words[4:] = words[4].clone()

    return changed(tmp_path_factory.mktemp("deaf") / "deaf-bert", tiny_bert, forget)


def terse(count: int, seed: int, nouns: list[str]) -> list[tuple[str, str]]:
    """Reviews of four different words, one of which tells the class: a frozen backbone can too."""
    chance, told = random.Random(seed), {}
    while len(told) < count:
        label, words = (("positive", GOOD), ("negative", BAD))[len(told) % 2]
        text = [*chance.sample(nouns, 3), chance.choice(words)]
        told.setdefault(" ".join(text), label)
    return list(told.items())


def films(count: int = 211, seed: int = 3) -> list[tuple[str, str]]:
    return terse(count, seed, FILLER)


def shop(count: int = 83, seed: int = 5) -> list[tuple[str, str]]:
    return terse(count, seed, PRODUCT)


def shuffled(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The texts with labels drawn by lot: nothing to be learned."""
    labels = np.random.default_rng(7).permutation([label for _, label in rows])
    return [(text, str(label)) for (text, _), label in zip(rows, labels, strict=True)]


def rank(wise_bert, sources=(), **options) -> headstart.Ranking:
    options = {"backbones": str(wise_bert), "progress": False} | options
    return headstart.rank(shop(), sources, **options)


def test_a_source_of_the_same_kind_is_put_before_noise(wise_bert):
    found = rank(wise_bert, {"noise": shuffled(films(197, 11)), "films": films()})
    (order,) = found.sources
    assert [c.name for c in order.candidates] == ["films", "noise"]
    assert found.source == "films"
    assert order.judge == JUDGES["sources"]
    good, bad = order.candidates
    assert good.scores["leep"].value > bad.scores["leep"].value
    assert good.scores["answers"].value > 0.8 > 0.7 > bad.scores["answers"].value
    assert good.mean_rank < bad.mean_rank
    assert order.lead is not None and order.lead.low > 0
    judge = title(JUDGES["sources"])
    assert f"Start from the source films: first of 2 by {judge}." in found.sentence
    assert "more than chance explains" in found.sentence


def test_a_backbone_that_hears_is_put_before_one_that_does_not(wise_bert, deaf_bert):
    found = rank(wise_bert, backbones=[str(deaf_bert), str(wise_bert)])
    assert found.backbone == str(wise_bert)
    assert found.source is None and found.sources == ()
    good, bad = found.backbones.candidates
    assert set(good.scores) == {"hscore", "logme", "nleep", "knn", "probe"}
    for measure in ("hscore", "logme", "probe", "knn"):
        assert good.scores[measure].value > bad.scores[measure].value
    assert good.absent == {"leep": "it has no classification head"}
    assert found.backbones.lead is not None and found.backbones.lead.low > 0


def test_the_scores_are_the_measures_of_the_mean_over_blocks(wise_bert):
    sources = {"films": films(), "more": films(101, 13)}
    found = rank(wise_bert, sources, max_length=11)
    checkpoint, tokenizer = open_checkpoint(wise_bert), Tokenizer.open(wise_bert)

    def vectors(rows):
        read_rows = examples(read(rows))
        labels = np.array([label == "positive" for label in read_rows.labels]).astype(int)
        layers = layer_vectors(checkpoint.backbone, tokenizer, read_rows, max_length=11)
        return np.array(layers[:, 1:], dtype=np.float64).mean(1), labels

    target, truth = vectors(shop())
    of_backbone = found.backbones.best.scores
    assert of_backbone["hscore"].value == transferability.h_score(target, truth)
    assert of_backbone["logme"].value == transferability.log_me(target, truth)
    for candidate in found.sources[0].candidates:
        source, labels = vectors(sources[candidate.name])
        said = transferability.probe(source, labels, target)
        assert candidate.scores["leep"].value == transferability.leep(said, truth)
        assert candidate.scores["answers"].value == np.mean(said.argmax(1) == truth)
        similar = transferability.similarity(source, target)
        assert candidate.scores["similarity"].value == similar


def test_a_trained_model_is_judged_by_its_head_and_its_own_features(wise_bert, tmp_path):
    stage = {"name": "films", "data": "films", "epochs": 12, "learning_rate": 3e-3,
             "batch_tokens": 64}  # fmt: skip
    values = {"backbone": str(wise_bert), "pooling": "mean", "stage": [stage],
              "data": {"films": {"path": "<memory>"}}}  # fmt: skip
    table = pd.DataFrame(films(), columns=["text", "label"])
    (done,) = Workshop().run(Recipe.from_values(values), {"films": examples(read(table))})
    shutil.copytree(done.folder, tmp_path / "run" / "model")
    found = rank(wise_bert, [shuffled(films(197, 11)), tmp_path / "run"])
    model, data = found.sources[0].candidates
    assert (model.kind, data.kind) == ("model", "data")
    answers = headstart.load(tmp_path / "run").predict([text for text, _ in shop()])
    right = np.mean([a == label for a, (_, label) in zip(answers, shop(), strict=True)])
    assert model.scores["answers"].value == right
    assert set(model.scores) == {"leep", "answers", "hscore", "logme", "nleep", "knn", "probe"}
    assert set(model.absent) == {"similarity"}
    assert set(data.absent) == {"hscore", "logme", "nleep", "knn", "probe"}
    sources, features = ranking_text(found).split("\n\n")[:2]
    assert sources.split("\n")[0].split()[2:] == ["LEEP*", "answers", "similarity", "rank"]
    head, base, tuned = (line.split() for line in features.split("\n"))
    assert head == ["features", "of", "H-score", "LogME", "NLEEP", "kNN", "probe"]
    assert (base[0], tuned[0]) == ("wise-bert", "run")
    assert tuned[1] == f"{model.scores['hscore'].value:.3f}"
    as_backbone = rank(wise_bert, backbones=[str(wise_bert), str(tmp_path / "run")])
    same = {c.name: c for c in as_backbone.backbones.candidates}[str(tmp_path / "run")]
    assert same.scores["leep"].value == pytest.approx(model.scores["leep"].value)
    assert same.scores["hscore"] == model.scores["hscore"]


def test_classes_may_differ_and_what_then_is_not_computed_is_said(wise_bert):
    words = {"positive": "up", "negative": "down"}
    topics = [(text, words[label]) for text, label in films(103, 17)]
    found = rank(wise_bert, {"films": films(), "topics": topics})
    by_name = {c.name: c for c in found.sources[0].candidates}
    why = by_name["topics"].absent["answers"]
    assert why == "its classes are 'down', 'up', not the target's"
    assert by_name["topics"].scores["leep"].value < 0
    assert found.sources[0].lead is None
    assert f"Not computed for topics: answers, as {why}." in " ".join(ranking_text(found).split())


def test_features_are_computed_once_for_all_rankings(wise_bert, monkeypatch):
    computed = []
    real = embedding._compute
    monkeypatch.setattr(embedding, "_compute", lambda *a: computed.append(a) or real(*a))
    first = rank(wise_bert, {"films": films(), "more": films(101, 13)})
    assert len(computed) == 3
    again = rank(wise_bert, {"more": films(101, 13), "films": films()}, by="similarity")
    assert len(computed) == 3
    one, other = ({c.name: c.scores for c in f.sources[0].candidates} for f in (first, again))
    assert one == other


def test_rows_of_the_target_are_left_out_of_a_source(wise_bert):
    found = rank(wise_bert, {"leaky": films(97) + shop()[:7], "films": films(89, 19)})
    (finding,) = found.findings
    assert finding.count == 7 and "7 rows left out, having the text of a target row" in (
        finding.message
    )
    assert found.data["leaky"]["looked_at"] == 97


def test_only_so_many_rows_are_looked_at_and_that_is_said(wise_bert):
    found = rank(wise_bert, {"films": films(), "more": films(101, 13)}, rows=53)
    assert (found.target["rows"], found.target["looked_at"]) == (83, 53)
    assert found.data["films"] | {"name": ""} == {
        "name": "", "rows": 211, "looked_at": 53, "classes": {"negative": 26, "positive": 27},
    }  # fmt: skip
    text = " ".join(ranking_text(found).split())
    assert "Judged on 53 of 83 rows of target, 2 classes." in text
    assert "films, 53 of 211 rows; more, 53 of 101 rows" in text


def test_the_json_holds_everything(wise_bert, deaf_bert):
    names = [str(wise_bert), str(deaf_bert)]
    found = rank(wise_bert, {"films": films(), "noise": shuffled(films())[:101]}, backbones=names)
    values = json.loads(found.to_json())
    assert values == found.values
    assert values["schema"] == "headstart.ranking/1"
    assert [order["backbone"] for order in values["sources"]] == names
    first = values["backbones"]["candidates"][0]
    assert (first["name"], first["place"]) == (str(wise_bert), 1)
    assert first["measures"]["probe"].keys() == {"value", "low", "high"}
    assert first["measures"]["hscore"].keys() == {"value"}


# The order itself, by hand


def candidates(**scores: dict[str, float]) -> list[Candidate]:
    return [
        Candidate(n, "data", {m: Score(v) for m, v in s.items()}, {}) for n, s in scores.items()
    ]


TRUTH = np.array([0, 1, 1])


def test_mean_ranks_are_over_the_measures_that_all_have():
    given = candidates(a={"leep": -0.5, "similarity": 0.9}, b={"leep": -0.2, "similarity": 0.9},
                       c={"leep": -0.1, "similarity": 0.3, "answers": 0.1})  # fmt: skip
    by_mean = in_order("sources", given, TRUTH, by="mean-rank")
    assert {c.name: c.mean_rank for c in by_mean.candidates} == {
        "b": (2 + 1.5) / 2, "c": (1 + 3) / 2, "a": (3 + 1.5) / 2,
    }  # fmt: skip
    assert [c.name for c in by_mean.candidates] == ["b", "c", "a"]
    by_leep = in_order("sources", given, TRUTH, by="leep")
    assert [c.name for c in by_leep.candidates] == ["c", "b", "a"]
    ties = in_order("sources", given, TRUTH, by="similarity")
    assert [c.name for c in ties.candidates] == ["b", "a", "c"]


def test_a_judge_that_lacks_a_candidate_or_fits_no_backbone_is_told():
    given = candidates(a={"leep": -0.5, "answers": 0.9}, b={"leep": -0.2})
    order = in_order("sources", given, TRUTH, by="answers")
    assert (order.judge, order.note) == ("mean-rank", "answers is not computed for 1 of 2 sources")
    own = JUDGES["backbones"]
    backbones = in_order("backbones", candidates(a={own: 0.1}), TRUTH, by="similarity")
    assert (backbones.judge, backbones.note) == (own, "similarity says nothing of these backbones")


def test_the_lead_is_paired_over_the_rows():
    truth = np.arange(101) % 2
    good = np.where(np.arange(101) < 10, 1 - truth, truth)
    worse = np.where(np.arange(101) < 30, 1 - truth, truth)
    scores = {
        "b": {"leep": Score(-0.6), "answers": Score(0.7, answers=worse)},
        "a": {"leep": Score(-0.4), "answers": Score(0.9, answers=good)},
    }
    given = [Candidate(name, "data", both, {}) for name, both in scores.items()]
    lead = in_order("sources", given, truth, by="leep").lead
    assert isinstance(lead, Interval)
    assert lead.value == pytest.approx(20 / 101) and lead.low > 0.1


def test_tables_are_80_columns_wide_and_leave_out_what_none_has():
    names = ["data/a/films-of-a-very-long-name-that-does-not-fit.csv", "data/b/films.csv"]
    scores = {"leep": Score(-0.5), "answers": Score(0.75, 0.7, 0.8), "similarity": Score(0.25)}
    given = [Candidate(name, "data", scores, {}) for name in names]
    order = in_order("sources", given, TRUTH, by="leep", backbone="org/all-MiniLM-L6-v2")
    table = order_table(order)
    head, first, second = table.split("\n")
    assert max(len(line) for line in table.split("\n")) <= 80
    assert head.split() == ["source,", "all-MiniLM-L6-v2", "LEEP*", "answers", "similarity", "rank"]
    assert first.split()[-6:] == ["-0.500", "75.0", "[70.0,", "80.0]", "0.250", "1.5"]
    assert second.startswith("films.csv ")


def test_names_are_told_apart_by_their_last_parts():
    assert tails(["a/x/train.csv", "a/y/train.csv"]) == ["x/train.csv", "y/train.csv"]
    assert tails(["org/name", "other"]) == ["name", "other"]
    assert tails(["source 1", "source 2"]) == ["source 1", "source 2"]


# Wrong input: all faults at once


def faults(*arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        headstart.rank(*arguments, progress=False, **options)
    return "\n".join(caught.value.faults)


def test_every_fault_is_told_at_once(wise_bert, tmp_path):
    one_class = [(text, "good") for text, _ in films(23)]
    image = tmp_path / "vit"
    image.mkdir()
    path = write_csv(tmp_path / "films.csv", films(), HEADER)
    said = faults(
        one_class,
        [path, str(tmp_path / "." / "films.csv"), tmp_path / "fims.csv", 7, one_class],
        [str(wise_bert), str(image), "no/such/folder", str(wise_bert), f"{wise_bert}/."],
        by="hscor", rows=1, max_length=3, text={"souce": "review"},
    )  # fmt: skip
    for part in (
        "target, column 'label': all 23 labels are 'good'",
        "source '" + str(path) + "': is given twice.",
        "fims.csv: there is no such file. Did you mean 'films.csv'?",
        "source 4: a int cannot be read",
        "source 5, column 'label': all 23 labels are 'good'",
        f"backbone '{wise_bert}': is given twice. Give it once.",
        f"backbone '{wise_bert}/.': is '{wise_bert}'. Give it once.",
        str(image),
        "no/such/folder",
        "by: no measure is called 'hscor'. Did you mean 'hscore'?",
        "rows: must be 2 or more; got 1.",
        "max_length: must be 4 or more; got 3.",
        "text: no data set is called 'souce'. Did you mean 'source'?",
    ):
        assert part in said, part


def test_the_same_rows_under_two_names_and_the_target_itself_are_refused(wise_bert, tmp_path):
    target = write_csv(tmp_path / "shop.csv", shop(), HEADER)
    said = faults(
        str(target), {"a": films(), "b": films(), str(target): str(target)}, str(wise_bert)
    )
    assert "source 'b': holds the rows of 'a'. Leave one out." in said
    assert f"source '{target}': is the target itself." in said


def test_one_of_each_leaves_nothing_to_rank(wise_bert):
    said = faults(shop(), {"films": films()}, str(wise_bert))
    assert said.startswith("nothing to rank: give two sources or more")
    assert said.endswith("There are 1 source and 1 backbone.")


def test_too_few_rows_for_the_classes_are_told(wise_bert):
    many = [(f"text {number}", f"class {number % 7}") for number in range(13)]
    said = faults(many, {"films": films(), "more": films(101, 13)}, str(wise_bert))
    assert said == (
        "target: 13 rows of 7 classes; at least 14 are needed. Leave classes out with a map, or "
        "add rows."
    )
    said = faults(many * 2, {"films": films(), "more": many[:8]}, str(wise_bert), rows=3)
    assert "look at more with rows=14 (--rows)" in said


def test_a_model_that_reads_images_is_refused(wise_bert, tmp_path):
    config = {"model_type": "vit", "hidden_size": 20, "num_hidden_layers": 2, "image_size": 8,
              "num_attention_heads": 5, "intermediate_size": 29, "patch_size": 4}  # fmt: skip
    backbone = Vit(VitConfig.from_hf(config))
    keys = FAMILIES["vit"].keys
    weights = {keys.to_theirs(name): t for name, t in backbone.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(backbone.hf_config() | config))
    said = faults(shop(), (), [str(wise_bert), str(tmp_path)])
    assert "a vit reads images, and the target holds texts" in said


def test_a_length_beyond_the_positions_and_a_map_that_fits_nothing_are_told(wise_bert):
    said = faults(shop(), {"films": films(), "more": films(101, 13)}, str(wise_bert),
                  max_length=41, source_map={"1": "negative"})  # fmt: skip
    assert "reads 37 tokens at most; got 41" in said
    assert "source_map: none of ['1'] is a label of any source. Their labels: 'negative', " in said


def test_a_map_is_for_the_sources_that_have_its_labels(wise_bert):
    stars = {"positive": "5", "negative": "1"}
    table = pd.DataFrame([(t, stars[y]) for t, y in films()], columns=["body", "stars"])
    found = rank(wise_bert, {"stars": table, "words": films(101, 13)},
                 source_map={"1": "negative", "5": "positive"})  # fmt: skip
    assert all("answers" in c.scores for c in found.sources[0].candidates)


# The command


def test_the_command_prints_tables_and_json(here, wise_bert, deaf_bert):
    for name, rows in {"films": films(), "noise": shuffled(films(97, 11))}.items():
        write_csv(Path(f"{name}.csv"), rows, HEADER)
    table = pd.DataFrame(shop(), columns=["body", "label"])
    table["title"] = table["body"].str[:5]
    table.to_csv("shop.csv", index=False)
    options = ("--target", "shop.csv", "--source", "noise.csv", "--source", "films.csv",
               "--text", "target=body", "--backbone", wise_bert)  # fmt: skip
    done = here("rank", *options)
    assert done.code == 0, done.err
    lines = done.out.split("\n")
    assert lines[1].startswith("films.csv ") and lines[2].startswith("noise.csv ")
    assert "Start from the source films.csv" in done.out
    assert max(map(len, lines)) <= 80
    assert "frozen layers, once" in done.err
    done = here("rank", *options, "--backbone", deaf_bert, "--json", "--by", "mean-rank")
    values = json.loads(done.out)
    assert (values["source"], values["backbone"]) == ("films.csv", str(wise_bert))
    assert values["backbones"]["judge"] == "mean-rank"


def test_the_command_tells_all_faults_and_leaves_with_2(here, wise_bert):
    done = here("rank", "--target", "shp.csv", "--source", "films.csv", "--source", "films.csv",
                "--backbone", "no/such/folder")  # fmt: skip
    assert done.code == 2
    assert "shp.csv: there is no such file" in done.err
    assert "source 'films.csv': is given twice" in done.err
    assert "no/such/folder" in done.err


def test_the_commands_defaults_are_the_functions():
    assert rank_command.__defaults__ is not None
    assert ranking_module.ROWS in rank_command.__defaults__
    said = f"{JUDGES['backbones']} for backbones, {JUDGES['sources']} for sources"
    assert said in (BY.help or "")
