"""Recipes that end in several tasks: judged alone and together, and left behind."""

import json

import numpy as np
import pandas as pd
import pytest
from tests.commands import Here
from tests.conftest import PRODUCT, reviews

import headstart
from headstart.errors import DataError, RecipeError
from headstart.evaluation.intervals import difference, gain
from headstart.evaluation.scores import row_means
from headstart.recipe import Recipe, members_of
from headstart.report.tasks import tasks_table
from headstart.training.stage import Workshop
from headstart.verdict.task_rows import read_task_rows
from headstart.verdict.together import Judge, alone, explained, run_together, without

TASKS = [{"data": "films"}, {"kind": "regress", "data": "stars"}, {"data": "shop"},
         {"kind": "masked-lm", "data": "films", "name": "words"}]  # fmt: skip


def frames():
    films = pd.DataFrame(reviews(101, 3), columns=["text", "label"])
    shop = pd.DataFrame(reviews(67, 5, PRODUCT), columns=["text", "label"])
    stars = films.assign(label=[f"{1.5 + i % 7}" for i in range(len(films))])
    stars["text"] += " film"
    return {"films": films, "stars": stars, "shop": shop}


def recipe(folder, tasks=TASKS, **stage):
    values = {"name": "together", "task": tasks, "steps": 7, "batch_tokens": 64} | stage
    return Recipe.from_values({"backbone": str(folder), "pooling": "mean",
                               "data": {name: {"path": f"{name}.csv"} for name in frames()},
                               "stage": [values]})  # fmt: skip


def test_each_task_is_told_alone_and_together_with_the_interval_of_the_gain(tiny_bert):
    asked, shop = recipe(tiny_bert), Workshop()
    rows = read_task_rows(asked, frames())
    result = run_together(asked, rows, shop, seeds=2)
    assert [task["name"] for task in result.tasks] == ["films", "stars", "shop"]
    judge = Judge(asked, rows, shop, seeds=2)
    judge.train("together", asked)
    films = result.task("films")
    ours, truth = np.stack(judge.answers["together", "films"]), judge.truth("films")
    assert ours.shape == (2, len(rows.test["films"]))
    assert films["together"]["value"] == pytest.approx((ours == truth).mean())
    epochs = judge.results["together"][0].record["tasks"]["passes"]["films"]
    lone = alone(asked, "films")
    stage = lone.stage[-1].model_copy(update={"steps": None, "epochs": epochs})
    judge.train("films", lone.model_copy(update={"stage": (stage,)}))
    theirs = np.stack(judge.answers["films", "films"])
    want = gain("accuracy", ours, theirs, truth)
    assert (films["gain"]["value"], films["gain"]["low"]) == (want.value, want.low)
    assert "seeds" in tasks_table(result.values)
    assert json.loads(result.to_json())["schema"] == "headstart.tasks/1"


def test_what_a_task_is_worth_to_the_others(tiny_bert):
    asked = recipe(tiny_bert, compare="each", steps=3)
    result = run_together(asked, read_task_rows(asked, frames()), Workshop())
    pairs = {(one["of"], one["to"]) for one in result.values["worth"]}
    assert ("words", "films") in pairs
    assert ("films", "shop") in pairs
    assert ("films", "words") not in pairs, "words has no labels to be judged by"
    assert len(pairs) == 9
    assert "worth of" in tasks_table(result.values)


def test_variants_keep_what_is_not_of_the_task(tiny_bert):
    shares = {"films": 1, "stars": 2, "shop": 3, "words": 4}
    asked = recipe(tiny_bert, mix={"by": "hand", "shares": shares})
    left = without(asked, "stars").stage[-1]
    assert [m.name for m in members_of(left)] == ["films", "shop", "words"]
    assert left.mix.shares == {"films": 1, "shop": 3, "words": 4}
    assert left.data_names == ("films", "shop")
    lone = alone(asked, "shop").stage[-1]
    assert (lone.mix.by, lone.balance.by, lone.data_names) == ("proportional", "sum", ("shop",))


def test_explained_variance_is_the_mean_over_rows():
    random = np.random.default_rng(3)
    truth = random.normal(size=31)
    found = truth + random.normal(size=(2, 31)) / 3
    want = 1 - ((found - truth) ** 2).mean() / truth.var()
    assert explained(found, truth).mean() == pytest.approx(want)
    worth = difference(row_means(explained(found, truth)), row_means(explained(found, truth)))
    assert worth.value == 0


def test_test_rows_are_trained_on_by_no_task(tiny_bert):
    asked = recipe(tiny_bert)
    rows = read_task_rows(asked, frames())
    tests = {text for part in rows.test.values() for text in part.texts}
    assert not tests & {text for part in rows.train.values() for text in part.texts}
    assert rows.held_out == {"films", "stars", "shop"}


def test_test_rows_may_be_named(tiny_bert):
    given = frames()
    asked = recipe(tiny_bert, tasks=[{"data": "films", "test": "shop"}, {"data": "stars",
                   "kind": "regress"}])  # fmt: skip
    rows = read_task_rows(asked, given)
    assert len(rows.test["films"]) == 67
    assert len(rows.train["films"]) > 90
    assert rows.held_out == {"stars"}


def test_one_test_cannot_judge_several_tasks(tiny_bert):
    values = recipe(tiny_bert).model_dump() | {"test": "shop"}
    with pytest.raises(RecipeError, match="cannot judge 3 tasks"):
        read_task_rows(Recipe.from_values(values), frames())


def test_faults_of_all_data_sets_are_told_at_once(tiny_bert):
    given = frames()
    given["stars"].loc[4, "label"] = "many"
    given["shop"] = given["shop"].rename(columns={"label": "sort of"}).assign(more="x y")
    with pytest.raises(DataError) as caught:
        read_task_rows(recipe(tiny_bert), given)
    faults = "\n".join(caught.value.faults)
    assert "1 label of no number" in faults
    assert "'many'" in faults
    assert "which is the label column" in faults


def test_a_run_leaves_a_folder_that_answers(tiny_bert, tmp_path, capsys, monkeypatch):
    for name, frame in frames().items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    text = recipe(tiny_bert, compare="no").to_toml()
    for name in frames():
        text = text.replace(f'"{name}.csv"', json.dumps(str(tmp_path / f"{name}.csv")))
    (tmp_path / "recipe.toml").write_text(text)
    verdict = headstart.run(tmp_path / "recipe.toml", out=tmp_path / "run", progress=False)
    assert verdict.sentence.startswith("Reached: films ")
    left = {place.name for place in (tmp_path / "run").iterdir()}
    assert left >= {"model", "verdict.json", "recipe.toml", "stages"}
    model = headstart.load(tmp_path / "run")
    assert model.tasks == ("films", "stars", "shop")
    assert model.provenance["judged"][0]["name"] == "films"
    ask = Here(capsys, monkeypatch)
    done = ask("predict", tmp_path / "run", "--task", "stars", "great film", "dull plot")
    head, *lines = done.out.splitlines()
    assert head == "text,number"
    numbers = [float(line.rsplit(",", 1)[1]) for line in lines]
    want = model.predict(["great film", "dull plot"], task="stars")
    assert numbers == pytest.approx(want, abs=1e-4)
    refused = ask("predict", tmp_path / "run", "great film")
    assert refused.code == 2
    assert "answers for several, films, stars, shop" in refused.err
