"""Episodes: what is learned from is never asked about, and classes stay in one part."""

import numpy as np
import pytest

from headstart.data.batches import RaggedStore
from headstart.data.episodes import (
    Episodes,
    Shape,
    Split,
    check_apart,
    split,
    tasks_of,
    without_known,
)
from headstart.data.examples import Examples
from headstart.errors import DataError

SHAPE = Shape(ways=3, shots=(2, 5), queries=4)


def many(classes=11, rows=7):
    return {"": {f"c{c:02}": np.arange(c * rows, (c + 1) * rows) for c in range(classes)}}


def examples(name, texts, labels):
    return Examples(name, texts, labels, np.arange(len(texts)))


def test_support_and_query_never_overlap_and_hold_their_classes():
    draws = Episodes(many(), SHAPE)
    counts, orders = set(), set()
    for number in range(97):
        drawn = draws.draw(np.random.default_rng(number))
        shots = len(drawn.support) // 3
        counts.add(shots)
        orders.add(drawn.classes[0] > drawn.classes[1])
        assert not set(drawn.support) & set(drawn.query)
        assert len(set(drawn.query)) == len(drawn.query) == 3 * min(4, 7 - shots)
        assert drawn.support_classes.tolist() == sorted([0, 1, 2] * shots)
        for rows, codes in ((drawn.support, drawn.support_classes),
                            (drawn.query, drawn.query_classes)):  # fmt: skip
            assert [f"c{row // 7:02}" for row in rows] == [drawn.classes[code] for code in codes]
    assert counts == {2, 5} and orders == {True, False}
    again = draws.draw(np.random.default_rng(96))
    assert np.array_equal(again.query, drawn.query), "the same chance, the same episode"


def test_classes_in_the_order_of_their_names():
    draws = Episodes(many(), Shape(3, (2,), 4, shuffled=False))
    drawn = [draws.draw(np.random.default_rng(n)).classes for n in range(13)]
    assert all(list(classes) == sorted(classes) for classes in drawn) and len(set(drawn)) > 1


def test_an_episode_holds_what_the_store_has_of_its_rows():
    offsets = np.cumsum([0, *([1, 2, 3, 4, 5, 6, 7] * 11)])
    store = RaggedStore(np.arange(offsets[-1]), offsets)
    drawn = Episodes(many(), SHAPE).draw(np.random.default_rng(3))
    episode = drawn.episode(store, weight=0.25)
    assert episode.ways == 3 and episode.weight == 0.25
    assert episode.rows.tolist() == [*drawn.support, *drawn.query]
    assert episode.support.target.tolist() == drawn.support_classes.tolist()
    first = drawn.support[0]
    length = store.lengths[first]
    assert episode.support.inputs.values[:length].tolist() == [
        *range(offsets[first], offsets[first + 1])
    ]
    assert episode.num_tokens == store.lengths[episode.rows.numpy()].sum()


def test_data_sets_with_different_labels():
    tasks = {"a": {"x": np.arange(9), "y": np.arange(9, 18)},
             "b": {str(n): np.arange(20 + 9 * n, 29 + 9 * n) for n in range(5)}}  # fmt: skip
    draws = Episodes(tasks, Shape(ways=None, shots=(3,), queries=2))
    drawn = [draws.draw(np.random.default_rng(n)) for n in range(61)]
    assert {(one.task, len(one.classes)) for one in drawn} == {("a", 2), ("b", 5)}
    fewer = Episodes(tasks, Shape(ways=3, shots=(3,), queries=2))
    assert {len(fewer.draw(np.random.default_rng(n)).classes) for n in range(61)} == {2, 3}


def test_too_few_classes_or_rows_are_all_told():
    with pytest.raises(DataError, match=r"has 2 classes, and an episode 3"):
        Episodes({"": dict(list(many()[""].items())[:2])}, SHAPE)
    with pytest.raises(DataError) as told:
        Episodes({"a": {"x": np.arange(5), "y": np.arange(9)}, "b": {"z": np.arange(9)}}, SHAPE,
                 "meta-train")  # fmt: skip
    assert len(told.value.faults) == 2
    assert "meta-train, a: classes with too few different rows for 5 shots" in str(told.value)
    assert "'x' 5" in str(told.value) and "'y'" not in str(told.value)


def names(tasks):
    return {(task, label) for task, classes in tasks.items() for label in classes}


def test_classes_of_one_data_set_are_kept_apart():
    parts = split(many(), validation=0.2, test=0.3, seed=5)
    train, validation, test = map(names, (parts.train, parts.validation, parts.test))
    assert (len(train), len(validation), len(test)) == (6, 2, 3)
    assert train | validation | test == names(many())
    assert names(split(many(), test=0.3, seed=5).test) == test, "whatever is validated by"
    assert names(split(many(), test=0.3, seed=6).test) != test
    named = split(many(), test=["c03", "c07"])
    assert names(named.test) == {("", "c03"), ("", "c07")} and not named.validation


def test_of_several_data_sets_whole_ones_are_kept_apart():
    tasks = {name: {"good": np.arange(3) + 10 * n, "bad": np.arange(3, 6) + 10 * n}
             for n, name in enumerate(["books", "dvd", "shop"])}  # fmt: skip
    parts = split(tasks, test=["shop"], validation=["dvd"])
    assert [sorted(part) for part in (parts.train, parts.validation, parts.test)] == [
        ["books"], ["dvd"], ["shop"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": ["c99"]}, "test: no class is called 'c99'"),
        ({"test": ["c01"], "validation": ["c01"]}, "'c01' is in both test and validation"),
        ({"test": [f"c{n:02}" for n in range(11)]}, "every class is held out"),
    ],
)
def test_what_cannot_be_split(options, message):
    with pytest.raises(DataError, match=message):
        split(many(), **options)


def test_a_class_in_two_parts_is_an_error():
    one, other = {"": {"a": np.arange(3)}}, {"": {"a": np.arange(5, 8)}}
    with pytest.raises(DataError, match=r"class 'a' is in meta-train and in meta-test"):
        Split(one, {}, other)
    with pytest.raises(DataError, match=r"'b' of meta-test shares 2 rows with meta-train"):
        Split(one, {}, {"": {"b": np.array([2, 1, 7])}})
    check_apart({"x": one, "y": {"": {"b": np.arange(5, 8)}}})


def test_repeated_texts_count_once():
    sets = {"a": examples("a", ["p", "q", "p ", "r"], ["x", "y", "x", "y"])}
    assert {k: v.tolist() for k, v in tasks_of(sets)[""].items()} == {"x": [0], "y": [1, 3]}
    both = tasks_of(sets | {"b": examples("b", ["p", "s"], ["x", "z"])})
    assert {k: v.tolist() for k, v in both["b"].items()} == {"x": [4], "z": [5]}
    with pytest.raises(DataError, match="has no labels"):
        tasks_of({"a": examples("a", ["p"], None)})


def test_texts_that_are_held_out_are_not_learned_from():
    texts = ["a", "b", "c", "d", "e", "a", "x"]
    parts = Split({"one": {"p": np.arange(3), "q": np.arange(3, 5)}}, {},
                  {"two": {"r": np.arange(5, 7)}})  # fmt: skip
    left = without_known(parts, texts).train["one"]
    assert left["p"].tolist() == [1, 2] and left["q"].tolist() == [3, 4]
    with pytest.raises(DataError, match=r"one, class 'p': 2 of 3 texts are among those held out"):
        without_known(parts, ["a", "x", "c", "d", "e", "a", "x"])
