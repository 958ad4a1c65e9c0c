"""Recipes: read, checked with every fault at once, and written back."""

import pytest

from headstart.errors import RecipeError
from headstart.recipe import Data, Lora, Recipe, Stage, parse_train

GOOD = """
backbone = "bert-base-uncased"
max_length = 128

[data.movies]
path = "aclImdb"
split = "train+test"

[data.shop]
path = "shop.csv"
text = "review"
label = "stars"
map = { 1 = "negative", "5" = "posi\\"tive" }

[[stage]]
name = "source"
data = "movies"
epochs = 2

[[stage]]
name = "probe"
task = { kind = "classify", class_weights = "balanced", label_smoothing = 0.1 }
data = "shop"
train = "head"
head = "new"
epochs = 20

[[stage]]
name = "tune"
data = "shop"
train = { head = 1e-4, "blocks.(4|5)" = 2e-5, ".*" = 0.0 }
steps = 101
layer_decay = 0.9
"""


def written(tmp_path, text: str):
    file = tmp_path / "recipe.toml"
    file.write_text(text, encoding="utf-8")
    return file


def faults(tmp_path, text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_toml(written(tmp_path, text))
    return "\n".join(caught.value.faults)


def test_a_recipe_survives_writing_and_reading(tmp_path):
    recipe = Recipe.from_toml(written(tmp_path, GOOD))
    again = Recipe.from_toml(written(tmp_path, recipe.to_toml()))
    assert again == recipe
    assert recipe.data["shop"].map == {"1": "negative", "5": 'posi"tive'}
    assert list(recipe.stage[2].train) == ["head", "blocks.(4|5)", ".*"], "patterns are ordered"
    assert recipe.stage[1].task.class_weights == "balanced"


def test_values_may_be_the_classes_themselves():
    recipe = Recipe(data={"a": Data(path="a.csv")}, stage=(Stage(name="s", data="a", steps=3),))
    assert Recipe.from_values(recipe.model_dump()) == recipe


def test_three_faults_are_told_at_once_with_their_places(tmp_path):
    text = GOOD.replace('train = "head"', 'train = "haed"')
    text = text.replace("epochs = 2\n", "epochs = 2\nsteps = 7\n")
    text = text.replace("layer_decay = 0.9", "layer_deacy = 0.9")
    found = faults(tmp_path, text)
    assert "stage[1].train: no way is called 'haed'. Did you mean 'head'?" in found
    assert "stage[0]: exactly one of epochs and steps must be given; found both." in found
    assert "stage[2]: no key is called 'layer_deacy'. Did you mean 'layer_decay'?" in found
    assert found.count("recipe.toml") == 3, "three faults, no more"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('data = "movies"', 'data = "moves"', "stage[0].data: no data set is called 'moves'. Did"),
        ('name = "probe"', 'name = "source"', "stage[1].name: 'source' is taken"),
        ("epochs = 20", "epochs = -1", "stage[1].epochs: input should be greater than 0; got -1."),
        ("epochs = 20", "", "stage[1]: exactly one of epochs and steps must be given; found nei"),
        ('"blocks.(4|5)"', '"blocks.(4|5"', "stage[2].train: 'blocks.(4|5' is not a regular"),
        ("steps = 101", "steps = 101\nlearning_rate = 1e-4", "stage[2].learning_rate: `train` al"),
        ("steps = 101", "steps = 101\npatience = 2", "stage[2].patience: needs rows to watch."),
        ("label_smoothing = 0.1", "label_smoothing = 1.5", "label_smoothing: input should be less"),
        ('"classify"', '"clasify"', "stage[1].task.kind: no task is called 'clasify'. Did"),
        ('path = "shop.csv"', "", "data.shop.path: is missing."),
        ("max_length = 128", 'pooling = "men"', "pooling: no choice is called 'men'. Did you mea"),
        ("max_length = 128", 'test = "shops"', "test: no data set is called 'shops'. Did you mea"),
        ("max_length = 128", "max_length = ", "is not valid TOML"),
    ],
)
def test_each_fault_names_its_place(tmp_path, old, new, message):
    assert message in faults(tmp_path, GOOD.replace(old, new))


def test_a_missing_file_and_its_nearest_name(tmp_path):
    written(tmp_path, GOOD)
    with pytest.raises(RecipeError, match=r"no such recipe file\. Did you mean 'recipe\.toml'"):
        Recipe.from_toml(tmp_path / "recipes.toml")


def test_an_empty_recipe_says_what_is_missing(tmp_path):
    found = faults(tmp_path, "")
    assert "data: is missing" in found and "stage: is missing" in found


def test_train_words():
    assert parse_train("top:3") == ("top", 3)
    assert parse_train("all") == ("all", 0)
    assert parse_train("lora:8") == ("lora", 8)
    for word in ("top", "top:0", "top:-1", "lora", "lora:0", "lorra:8", "bitfit:2"):
        with pytest.raises(ValueError, match="no way is called"):
            parse_train(word)


@pytest.mark.parametrize(
    "train",
    [
        '"lora:8"',
        '"bitfit"',
        '{ kind = "lora", rank = 8, alpha = 16, targets = "query|value", dora = true }',
        '{ kind = "prefix", length = 5, rates = { "prefix" = 0.01, "head" = 0.001, ".*" = 0 } }',
        '{ "adapter:5" = 1e-3, "bitfit" = 1e-4, ".*" = 0 }',
    ],
)
def test_what_is_added_comes_back_from_toml(tmp_path, train):
    text = GOOD.replace('train = "head"', f"train = {train}")
    recipe = Recipe.from_toml(written(tmp_path, text))
    assert Recipe.from_toml(written(tmp_path, recipe.to_toml())) == recipe


def test_what_a_stage_adds():
    def added(train):
        return Stage(name="s", data="d", epochs=1, train=train).adapter

    assert added("lora:8") == Lora(kind="lora", rank=8) == added({"lora:8": 1e-3, ".*": 0})
    assert added("prefix:3").length == 3 and added("adapter:7").width == 7
    assert added("all") is added("bitfit") is added({"head": 1e-3}) is None
    assert added("lora:8").scale == 2.0
    table = {"kind": "lora", "rank": 4, "alpha": 6.0}
    assert added(table).scale == 1.5 and added(table | {"rslora": True}).scale == 3.0


@pytest.mark.parametrize(
    ("train", "messages"),
    [
        ('"lorra:8"', ["no way is called 'lorra:8'. Did you mean 'lora:N'?"]),
        ('{ kind = "loha", rank = 3 }', ["train.kind: no adapter is called 'loha'."]),
        ("5", ["train: must be a word, a table of patterns or one with a kind; got 5."]),
        (
            '{ kind = "lora", rnak = 3, dropout = 2, targets = "(" }',
            [
                "stage[1].train.rank: is missing",
                "stage[1].train: no key is called 'rnak'. Did you mean 'rank'",
                "stage[1].train.dropout: input should be less than 1; got 2",
                "stage[1].train.targets: '(' is not a regular expression",
            ],
        ),
        ('{ "lora:3" = 1e-3, "prefix:3" = 1e-3 }', ["one thing may be added in a stage"]),
        ('{ "lorra:3" = 1e-3 }', ["no adapter is called 'lorra:3'. Did you mean 'lora:N'?"]),
        (
            '{ kind = "lora", rank = 3, rates = { "lora:3" = 1e-3 } }',
            ["train.rates: 'lora:3' says again what `kind` says. Write 'lora'."],
        ),
    ],
)
def test_faults_of_what_is_added_all_at_once(tmp_path, train, messages):
    found = faults(tmp_path, GOOD.replace('train = "head"', f"train = {train}"))
    for message in messages:
        assert message in found
