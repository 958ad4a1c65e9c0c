"""Which rows to label next: chosen well, the same each time, and never what is labelled."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from tests.commands import Here, write_csv
from tests.conftest import PRODUCT, reviews
from torch import nn

import headstart
from headstart.data.examples import Examples, examples
from headstart.data.table import read as read_table
from headstart.data.text import Tokenizer
from headstart.errors import CheckpointError, DataError
from headstart.models.checkpoint import open_checkpoint
from headstart.models.network import Mean, Network
from headstart.tasks.classify import Classify
from headstart.tasks.temperature import Temperature
from headstart.training.model import Trained, save_trained
from headstart.training.progress import Silent
from headstart.verdict.next_labels import _clusters, choose, next_labels, read, uncertainty


def clusters(rng, sizes, width=11, spread=0.15):
    """Points around some directions, and the direction of each."""
    middles = np.linalg.qr(rng.normal(size=(width, width)))[0][: len(sizes)]
    place = np.repeat(np.arange(len(sizes)), sizes)
    return middles[place] + spread * rng.normal(size=(len(place), width)), place


def test_uncertainty_is_one_minus_the_margin():
    p = np.array([[0.7, 0.2, 0.1], [0.4, 0.2, 0.4], [1.0, 0.0, 0.0]])
    assert uncertainty(p) == pytest.approx([0.5, 1.0, 0.0])


def test_one_row_of_each_cluster_the_most_doubt_first():
    rng = np.random.default_rng(3)
    points, place = clusters(rng, (53, 101, 31, 73))
    found = choose(points, np.full((258, 2), 0.5), 4)
    assert place[found.places].tolist() == [1, 3, 0, 2]  # equally unsure: the largest first
    assert found.sizes.tolist() == [101, 73, 53, 31]
    assert found.clusters.tolist() == [0, 1, 2, 3]
    sure = np.where(place[:, None] == 1, [[0.95, 0.05]], [[0.5, 0.5]])
    assert place[choose(points, sure, 4).places].tolist() == [3, 0, 2, 1]


def test_the_row_of_a_cluster_is_unsure_and_typical():
    rng = np.random.default_rng(5)
    points, place = clusters(rng, (53, 47))
    points[7] = 0.5 * (points[place == 0].mean(0) + points[place == 1].mean(0))  # an odd one
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    chosen = choose(points, np.full((100, 2), 0.5), 2).places
    for row in chosen:
        middle = points[place == place[row]].mean(0)
        apart = np.linalg.norm(points[place == place[row]] - middle, axis=1)
        assert np.linalg.norm(points[row] - middle) < np.quantile(apart, 0.1)
    sure = np.full((100, 2), [0.99, 0.01])
    sure[11] = 0.5
    assert 11 in choose(points, sure, 2).places


def test_clusters_with_a_label_come_last():
    rng = np.random.default_rng(7)
    points, place = clusters(rng, (101, 53, 31))
    labelled = points[place == 0][:1]
    found = choose(points[1:], np.full((184, 2), 0.5), 2, labelled=labelled)
    assert place[1:][found.places].tolist() == [1, 2]


def test_all_rows_can_be_asked_for_each_once():
    rng = np.random.default_rng(11)
    points, _ = clusters(rng, (17, 13))
    found = choose(points, rng.dirichlet([1, 1], 30), 30)
    assert sorted(found.places.tolist()) == list(range(30))
    same = choose(np.ones((13, 5)), np.full((13, 2), 0.5), 7)
    assert len(set(same.places.tolist())) == 7
    with pytest.raises(ValueError, match="between 1 and N"):
        choose(points, rng.dirichlet([1, 1], 30), 31)


def test_the_same_seed_chooses_the_same_and_many_rows_are_read_in_batches():
    rng = np.random.default_rng(13)
    points, place = clusters(rng, (9_000, 8_000, 4_003))
    p = rng.dirichlet([1, 1], len(points))
    first, again = (choose(points, p, 3, seed=5) for _ in range(2))
    assert np.array_equal(first.places, again.places)
    assert sorted(place[first.places].tolist()) == [0, 1, 2]
    found, middles = _clusters(points[:5000].astype(np.float32), np.ones(5000), 3, 0)
    assert found.shape == (5000,) and middles.shape == (3, 11)


def won(points, truth, num_start, count, seed):
    """Balanced accuracy on half of the rows after labelling chosen ones, and after random ones."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(points))
    judged, rows = order[: len(points) // 2], order[len(points) // 2 :]
    start = rows[:num_start]
    missing = np.setdiff1d(truth, truth[start])
    start = np.concatenate([start, [rows[truth[rows] == c][0] for c in missing]]).astype(int)
    rest = np.setdiff1d(rows, start)

    def after(labelled):
        model = LogisticRegression(C=10, max_iter=500, class_weight="balanced")
        model.fit(points[labelled], truth[labelled])
        hit = model.predict(points[judged]) == truth[judged]
        return np.mean([hit[truth[judged] == c].mean() for c in np.unique(truth)]), model

    p = after(start)[1].predict_proba(points[rest])
    found = choose(points[rest], p, count, labelled=points[start], seed=seed)
    chosen = np.concatenate([start, rest[found.places]])
    random = np.concatenate([start, rng.choice(rest, count, replace=False)])
    return after(chosen)[0], after(random)[0]


def test_it_beats_chance_where_there_are_rare_kinds_of_rows():
    """Kinds of rows of very unequal size: chance misses the small ones, which count as much."""
    pairs = []
    for seed in range(20):
        points, place = clusters(
            np.random.default_rng(seed), (401, 307, 41, 31, 23, 17), spread=0.2
        )
        pairs.append(won(points, np.array([0, 1, 2, 2, 3, 3])[place], 4, 12, seed))
    assert sum(mine > theirs for mine, theirs in pairs) >= 15
    assert np.mean([mine - theirs for mine, theirs in pairs]) > 0.05


def test_it_beats_chance_on_real_reviews():
    """Which of four shops a review is from, by its words; 16 labels, then 16 more."""
    folder = Path(__file__).parents[2] / "../shared/data/amazon_multi_domain/sorted_data_acl"
    if not folder.exists():
        pytest.skip("the reviews are not here")
    tables = [read_table(shop) for shop in sorted(folder.iterdir())]
    parts = [examples(table, require_label=False).texts for table in tables]
    words = [text[:400] for texts in parts for text in texts]
    shop = np.repeat(np.arange(len(parts)), [len(texts) for texts in parts])
    counts = TfidfVectorizer(min_df=2, sublinear_tf=True, stop_words="english").fit_transform(words)
    points = TruncatedSVD(100, random_state=0).fit_transform(counts)
    pairs = [won(points, shop, 16, 16, seed) for seed in range(20)]
    assert sum(mine > theirs for mine, theirs in pairs) >= 15
    assert np.mean([mine - theirs for mine, theirs in pairs]) > 0.02


@pytest.fixture(scope="module")
def model(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's output folder, its model untrained but with a temperature."""
    folder = tmp_path_factory.mktemp("runs") / "shop"
    checkpoint = open_checkpoint(str(tiny_bert))
    torch.manual_seed(7)
    head = nn.Linear(checkpoint.backbone.width, 3)
    trained = Trained(
        network=Network(checkpoint.backbone, Mean(), head, 0.1).eval(),
        tokenizer=Tokenizer.open(tiny_bert),
        task=Classify(("bad", "good", "so, so")),
        max_length=11,
        pooling="mean",
        origin=tiny_bert,
        temperature=Temperature(1.7, 1.4, 2.1, 53, 0.5),
    )
    (folder / "model").mkdir(parents=True)
    save_trained(trained, folder / "model", ["great phone"])
    (folder / ".headstart").write_text("{}")
    return folder


def texts(count: int, seed: int = 3) -> list[str]:
    return list(dict.fromkeys(text for text, _ in reviews(2 * count, seed, PRODUCT)))[:count]


def test_what_is_read_of_a_model_is_what_its_head_reads(model):
    trained = headstart.load(model)._trained
    rows = Examples("rows", texts(41), None, np.arange(41))
    vectors, probabilities = read(trained, rows, Silent())
    assert vectors.shape == (41, 20)
    expected = headstart.load(model).predict_proba(rows.texts)
    assert probabilities == pytest.approx(expected, abs=1e-6)
    logits = trained.network.head(torch.from_numpy(vectors))
    assert trained.probabilities(logits).detach().numpy() == pytest.approx(expected, abs=1e-6)


def test_rows_that_repeat_or_are_labelled_are_not_chosen(model):
    mine = texts(31)
    unlabelled = [*mine, mine[0] + "  ", mine[5]]
    found = headstart.next_labels(model, unlabelled, 21, labelled=mine[:10], progress=False)
    assert {row.text for row in found} == set(mine[10:])
    assert sorted(row.row for row in found) == list(range(10, 31))
    with pytest.raises(DataError, match="asks for 22 rows; unlabelled rows has 21 different ones"):
        headstart.next_labels(model, unlabelled, 22, labelled=mine[:10], progress=False)


def test_each_row_says_why(model):
    found = headstart.next_labels(model, texts(61), 5, progress=False)
    p = headstart.load(model).predict_proba([row.text for row in found])
    classes = headstart.load(model).classes
    for row, chances in zip(found, p, strict=True):
        second, first = np.sort(chances)[-2:]
        assert (row.guess, row.probability) == (classes[chances.argmax()], pytest.approx(first))
        assert row.uncertainty == pytest.approx(1 - (first - second), abs=1e-5)
        assert row.why.startswith(f"{row.guess} {row.probability:.0%}, or {row.other}? ")
    assert [row.cluster for row in found] == [1, 2, 3, 4, 5]
    assert sum(row.stands_for for row in found) == 61
    trained = headstart.load(model)._trained
    rows = Examples("rows", texts(61), None, np.arange(61))
    assert next_labels(trained, rows, 5) == found


@pytest.fixture
def here(capsys, monkeypatch) -> Here:
    return Here(capsys, monkeypatch)


def test_the_command_writes_a_file_to_fill_in(model, here, tmp_path):
    source = write_csv(tmp_path / "new.csv", [(t, i) for i, t in enumerate(texts(43))],
                       ("review", "id"))  # fmt: skip
    out = tmp_path / "to_label.csv"
    done = here("next-labels", model, source, "--count", 7, "--out", out)
    assert done.code == 0, done.err
    assert 'to_label.csv: 7 rows to label. Fill in the column "label".' in done.out
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert len(rows) == 7 and all(row["label"] == "" for row in rows)
    given = list(csv.DictReader(io.StringIO(source.read_text(encoding="utf-8"))))
    assert given[int(rows[0]["row"]) - 2]["review"] == rows[0]["text"]  # row 1 is the header
    again = here("next-labels", model, source, "--count", 7)
    assert list(csv.DictReader(io.StringIO(again.out))) == rows
    # Filled in, it is a target file as it is.
    filled = [(row["text"], "good" if i % 2 else "bad") for i, row in enumerate(rows)]
    for (_, label), row in zip(filled, rows, strict=True):
        row["label"] = label
    back = write_csv(tmp_path / "labelled.csv", [list(r.values()) for r in rows], list(rows[0]))
    read_back = examples(read_table(str(back)))
    assert list(zip(read_back.texts, read_back.labels, strict=True)) == filled
    more = here("next-labels", model, source, "--count", 7, "--labelled", back)
    assert not {r["text"] for r in csv.DictReader(io.StringIO(more.out))} & {t for t, _ in filled}


def test_what_the_user_does_wrong_is_said(model, here, tmp_path):
    source = write_csv(tmp_path / "new.csv", [(t,) for t in texts(11)], ("text",))
    out = tmp_path / "to_label.csv"
    out.write_text("mine")
    there = here("next-labels", model, source, "--out", out)
    assert there.code == 2 and "is there already, and may hold labels that you made" in there.err
    assert out.read_text() == "mine"
    folder = here("next-labels", model, source, "--out", tmp_path)
    assert folder.code == 2 and "is a folder" in folder.err
    many = here("next-labels", model, source)
    assert many.code == 2 and "has 11 different ones" in many.err
    column = here("next-labels", model, source, "--text", "txt")
    assert column.code == 2 and "Did you mean 'text'" in column.err
    missing = here("next-labels", model, tmp_path / "nwe.csv")
    assert missing.code == 2 and "Did you mean 'new.csv'" in missing.err
    with pytest.raises(CheckpointError, match="there is no such folder"):
        headstart.next_labels(tmp_path / "none", ["a", "b"], 1)
