"""Recipes that end in learning from episodes, from the command's side."""

import json

import numpy as np
import pytest
from tests.commands import Here, write_csv

import headstart
from headstart.errors import CheckpointError, DataError, RecipeError, UserError
from headstart.evaluation.episodes import Trials, episode_interval, logistic, nearest_mean
from headstart.report.meta import meta_table
from headstart.verdict import meta

WORDS = "great lovely superb charming fun awful dull broken boring poor film plot".split()
FILLER = "the was a and very camera phone screen box cable".split()


def pairs(classes=WORDS, count=9, seed=3):
    random = np.random.default_rng(seed)
    texts = {}
    for word in classes:
        mine = set()
        while len(mine) < count:
            words = [*random.choice(FILLER, 3), word, word]
            mine.add(" ".join(words[place] for place in random.permutation(5)))
        texts |= dict.fromkeys(sorted(mine), f"is {word}")
    return list(texts.items())


def values(backbone, objective=(), **stage):
    asked = {"kind": "protonet", "ways": 3, "shots": [1, 2], "queries": 3, "episodes": 2,
             "test": 0.4, "test_episodes": 11} | dict(objective)  # fmt: skip
    return {
        "backbone": str(backbone),
        "pooling": "mean",
        "data": {"many": {"path": "many.csv"}},
        "stage": [{"name": "episodes", "data": "many", "steps": 3, "objective": asked} | stage],
    }


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(meta, "TUNED_EPISODES", 2)
    few = meta.tuning_stage
    monkeypatch.setattr(meta, "tuning_stage", lambda: few(epochs=2))


def test_a_run_measures_adapts_and_leaves_a_backbone(tiny_bert, tmp_path, quick):
    result = headstart.run(values(tiny_bert), data={"many": pairs()}, out=tmp_path / "run",
                           progress=False)  # fmt: skip
    assert [one["shots"] for one in result.results] == [1] * 4 + [2] * 4
    mine, regression = result.results[:2]
    assert mine["way"] == "episodes (protonet)" and mine["gain"] is None
    assert [one["episodes"] for one in result.results[:4]] == [11, 11, 11, 2]
    for one in result.results:
        assert 0 <= one["accuracy"]["low"] <= one["accuracy"]["value"] <= one["accuracy"]["high"]
    assert regression["gain"]["value"] == pytest.approx(
        mine["accuracy"]["value"] - regression["accuracy"]["value"]
    )
    assert "With 2 labels a class of new classes episodes is right in" in result.sentence
    written = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert written["results"] == result.results and written["kind"] == "meta"
    table = meta_table(result.values)
    assert "plain fine-tuning" in table and max(map(len, table.split("\n"))) <= 80

    support = pairs(["great", "awful"], count=2, seed=7)
    model = headstart.adapt(tmp_path / "run", support, out=tmp_path / "mine")
    assert model.classes == ("is awful", "is great")
    assert model.provenance["adapted"] == {"rows": 4, "classes": 2}
    again = headstart.load(tmp_path / "mine")
    texts = [text for text, _ in pairs(["great"], count=3, seed=8)]
    assert np.array_equal(again.predict_proba(texts), model.predict_proba(texts))
    with pytest.raises(UserError, match="takes no steps"):
        headstart.adapt(tmp_path / "run", support, steps=3)
    with pytest.raises(CheckpointError, match=r"headstart adapt .* --support few.csv"):
        headstart.load(tmp_path / "run")
    with pytest.raises(CheckpointError, match="did not learn from episodes"):
        headstart.adapt(tmp_path / "mine", support)
    with pytest.raises(DataError, match="telling apart takes 2 or more"):
        headstart.adapt(tmp_path / "run", support[:2])

    chained = values(tmp_path / "run" / "model")
    chained["stage"] = [{"name": "tune", "data": "many", "epochs": 1}]
    some = pairs(["great", "awful"])
    after = headstart.run(chained, data={"many": some}, progress=False)
    assert after.winner == "tune"


def test_a_chain_goes_on_to_fine_tuning(tiny_bert):
    chain = values(tiny_bert, {"ways": 2, "test": ()})
    chain["data"]["shop"] = {"path": "x"}
    chain["stage"].append({"name": "tune", "data": "shop", "epochs": 1})
    some = pairs(["great", "awful"])
    verdict = headstart.run(chain, data={"many": some, "shop": some}, progress=False)
    assert [arm["title"] for arm in verdict.values["arms"]] == ["after tune"]


def test_without_classes_kept_apart_that_is_said(tiny_bert):
    result = headstart.run(values(tiny_bert, {"test": ()}), data={"many": pairs()}, progress=False)
    assert result.results == [] and "Nothing was kept apart" in result.sentence
    assert "Nothing was kept apart" in meta_table(result.values)


def test_as_many_rows_as_the_recipe_asks_for(tiny_bert):
    asked = values(tiny_bert)
    asked["data"]["many"]["labels"] = 60
    recipe = headstart.Recipe.from_values(asked)
    rows = meta.read_sets(recipe, {"many": pairs()})["many"]
    assert len(rows) == 60 and len(rows.classes) == 12
    asked["data"]["many"]["labels"] = 600
    with pytest.raises(DataError, match="asks for 600 labelled rows; there are 108"):
        meta.read_sets(headstart.Recipe.from_values(asked), {"many": pairs()})


def test_what_is_kept_apart_is_not_learned_before(tiny_bert):
    chain = values(tiny_bert)
    chain["stage"].insert(0, {"name": "source", "data": "many", "epochs": 1})
    with pytest.raises(RecipeError, match=r"'source': learns the labels of 'many'"):
        headstart.run(chain, data={"many": pairs()}, progress=False)
    chain["stage"][0] |= {"task": "masked-lm", "epochs": 1}
    meta.check_unseen(headstart.Recipe.from_values(chain))


def test_adapt_as_a_command(tiny_bert, tmp_path, capsys, monkeypatch, quick):
    headstart.run(values(tiny_bert), data={"many": pairs()}, out=tmp_path / "run", progress=False)
    few = write_csv(tmp_path / "few.csv", pairs(["dull", "fun"], 1, 5), ("text", "label"))
    command = Here(capsys, monkeypatch)
    done = command("adapt", tmp_path / "run", "--support", few, "--out", tmp_path / "mine")
    assert done.code == 0, done.err
    assert "tells apart is dull, is fun; from 2 rows" in done.out
    done = command("adapt", tmp_path / "runs", "--support", few, "--out", tmp_path / "mine")
    assert done.code == 2 and "there is no such folder" in done.err
    done = command("adapt", tmp_path / "run", "--support", few, "--label", "txt")
    assert done.code == 2 and "txt" in done.err


def test_ways_of_answering_from_frozen_vectors():
    support = np.array([[0.0, 0.0], [0.0, 2.0], [4.0, 0.0], [4.0, 2.0]])
    classes = np.array([0, 0, 1, 1])
    query = np.array([[1.0, 5.0], [3.0, -3.0], [1.9, 1.0], [2.1, 1.0]])
    assert nearest_mean(support, classes, query).tolist() == [0, 1, 0, 1]
    assert logistic(support, classes, query).tolist() == [0, 1, 0, 1]


def test_the_interval_over_episodes_by_hand():
    accuracies = np.array([0.5, 1.0, 0.75, 0.75])
    found = episode_interval(accuracies)
    half = 1.959964 * accuracies.std(ddof=1) / 2
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - half, abs=1e-5)
    assert found.high == pytest.approx(0.75 + half, abs=1e-5)
    assert episode_interval(np.array([1.0, 1.0])).high == 1.0


def test_all_ways_see_the_same_episodes():
    from headstart.data.episodes import Episodes, Shape
    from headstart.data.examples import Examples

    rows = Examples("x", [str(n) for n in range(30)], None, np.arange(30))
    draws = Episodes({"": {str(c): np.arange(6 * c, 6 * c + 6) for c in range(5)}},
                     Shape(3, (2,), 3))  # fmt: skip
    trials, vectors = Trials(draws, rows, 7, seed=5), np.arange(30.0)[:, None]
    seen = []
    trials.of_vectors(vectors, lambda s, c, q: seen.append(s[:, 0].astype(int)) or np.zeros(len(q)))
    for number, support in enumerate(seen):
        assert support.tolist() == trials.drawn(number).support.tolist()
