"""The official layouts: small copies made by hand, and the real ones where they are at hand."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from headstart.data.examples import examples
from headstart.data.suites import vader
from headstart.data.table import read
from headstart.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"
here = pytest.mark.skipif(not SHARED.is_dir(), reason="the data sets are not here")


def refused(source: object, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read(source, **options)
    return str(caught.value)


@pytest.fixture
def imdb(tmp_path: Path) -> Path:
    folder = tmp_path / "aclImdb"
    files = {
        "train/pos/0_9.txt": "Lovely.<br />Truly.", "train/pos/10_10.txt": "Superb.",
        "train/pos/2_7.txt": "Fine — très bien.", "train/neg/0_1.txt": "Awful.",
        "train/neg/1_4.txt": "Dull.", "train/unsup/0_0.txt": "Who knows?",
        "test/pos/0_8.txt": "Good.", "test/neg/5_2.txt": "Bad.",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "train" / "urls_pos.txt").write_text("not a review")
    return folder


def test_imdb_training_part_is_the_default(imdb: Path) -> None:
    table = read(imdb)
    cells = table.columns.to_pydict()
    assert cells["rating"] == [9, 7, 10, 1, 4]
    assert cells["label"] == ["positive"] * 3 + ["negative"] * 2
    assert cells["text"][:2] == ["Lovely.<br />Truly.", "Fine — très bien."]
    assert table.place(2) == f"{imdb}/train/pos/10_10.txt"
    assert table.findings == ()
    assert examples(table).classes == ("negative", "positive")


def test_imdb_parts_join_for_the_textbook(imdb: Path) -> None:
    table = read(imdb, split="train+test")
    assert len(table) == 7
    assert table.columns["split"].to_pylist() == ["train"] * 5 + ["test"] * 2
    assert read(imdb, split="test").columns["text"].to_pylist() == ["Good.", "Bad."]
    assert read(imdb, split="unsup").columns["label"].to_pylist() == [None]


def test_imdb_unknown_and_missing_parts_are_told(imdb: Path) -> None:
    said = refused(imdb, split="tran+test")
    assert "'tran'" in said and "Did you mean 'train'?" in said
    for file in (imdb / "test" / "neg").iterdir():
        file.unlink()
    (imdb / "test" / "neg").rmdir()
    assert str(imdb / "test" / "neg") in refused(imdb, split="test")


def test_imdb_odd_names_are_left_out_and_reported(imdb: Path) -> None:
    (imdb / "train" / "neg" / "notes.txt").write_text("mine")
    (imdb / "train" / "pos" / "7.txt").write_text("no rating")
    table = read(imdb)
    assert len(table) == 5
    (finding,) = table.findings
    assert finding.count == 2
    assert "train/neg/notes.txt" in finding.message and "train/pos/7.txt" in finding.message


def test_imdb_all_broken_files_are_named(imdb: Path) -> None:
    (imdb / "train" / "pos" / "0_9.txt").write_bytes(b"caf\xe9")
    (imdb / "train" / "neg" / "0_1.txt").write_bytes(b"\xff\xfe")
    said = refused(imdb)
    assert "0_9.txt: is not UTF-8 (byte 3)" in said and "0_1.txt: is not UTF-8 (byte 0)" in said


REVIEW = """<review>
<unique_id>
1:a_"b"
</unique_id>
<rating>
{rating}
</rating>
<title>
{title}
</title>
<review_text>
{text}
</review_text>
</review>
"""


def review(text: str, rating: object = "5.0", title: str = "So") -> str:
    return REVIEW.format(text=text, rating=rating, title=title)


@pytest.fixture
def amazon(tmp_path: Path) -> Path:
    folder = tmp_path / "sorted_data_acl"
    for domain in ("books", "kitchen_&_housewares"):
        (folder / domain).mkdir(parents=True)
        (folder / domain / "unlabeled.review").write_text(review("Not read."))
    (folder / "books" / "positive.review").write_text(
        "<?xml version='1.0'?>\n<reviews>\n" + review("Salt & <b>pepper</b> < 3\n\nTwo parts.")
        + review("A <review_text> about tags", "4.0", "R&D") + "</reviews>\n"
    )  # fmt: skip
    (folder / "books" / "negative.review").write_bytes(review("Bad caf\xe9", 1).encode("latin-1"))
    kitchen = folder / "kitchen_&_housewares"
    (kitchen / "negative.review").write_text(review("Leaks.", 2))
    (kitchen / "positive.review").write_text(review("Keeps."))
    return folder


def test_amazon_all_domains(amazon: Path) -> None:
    table = read(amazon)
    cells = table.columns.to_pydict()
    assert cells["text"] == ["Bad caf\ufffd", "Salt & <b>pepper</b> < 3\n\nTwo parts.",
                             "A <review_text> about tags", "Leaks.", "Keeps."]  # fmt: skip
    assert cells["label"] == ["negative", "positive", "positive", "negative", "positive"]
    assert cells["rating"] == [1, 5, 4, 2, 5]
    assert cells["title"][2] == "R&D"
    assert cells["domain"] == ["books"] * 3 + ["kitchen_&_housewares"] * 2
    assert table.place(2) == f"{amazon}/books/positive.review, review 2"
    (finding,) = table.findings
    assert finding.kind == "unreadable characters" and finding.count == 1


def test_amazon_a_domain_and_a_file(amazon: Path) -> None:
    assert len(read(amazon / "books")) == 3
    table = read(amazon / "books" / "positive.review")
    assert len(table) == 2 and table.place(1).endswith("positive.review, review 2")


def test_amazon_other_names_go_by_the_stars(tmp_path: Path) -> None:
    file = tmp_path / "all.review"
    file.write_text("".join(review(f"Text {stars}", stars) for stars in (1, 2, 3, 4, 5)))
    table = read(file)
    assert table.columns["label"].to_pylist() == ["negative"] * 2 + ["positive"] * 2
    assert [table.place(i)[-8:] for i in range(4)] == [f"review {n}" for n in (1, 2, 4, 5)]
    (finding,) = table.findings
    assert finding.count == 1 and "3 stars" in finding.message


def test_amazon_every_broken_review_is_named(tmp_path: Path) -> None:
    file = tmp_path / "positive.review"
    file.write_text(review("Fine.") + review("Odd.", "many") + review("") + review("Ok.", ""))
    said = refused(file)
    assert "review 2: its <rating> is 'many'" in said
    assert "review 3: has no <review_text>" in said
    assert "review 4: its <rating> is ''" in said
    file.write_text("nothing of the kind")
    assert "holds no <review>" in refused(file)


@here
def test_the_real_imdb_cut() -> None:
    table = read(SHARED / "imdb" / "aclImdb", split="train+test")
    assert Counter(table.columns["label"].to_pylist()) == {"positive": 1500, "negative": 1500}
    assert set(table.columns["rating"].to_pylist()) == {1, 2, 3, 4, 7, 8, 9, 10}
    assert table.findings == ()


@here
def test_the_real_amazon_cut() -> None:
    table = read(SHARED / "amazon_multi_domain" / "sorted_data_acl")
    assert Counter(table.columns["domain"].to_pylist()) == dict.fromkeys(
        ["books", "dvd", "electronics", "kitchen_&_housewares"], 700
    )
    assert Counter(table.columns["label"].to_pylist()) == {"positive": 1400, "negative": 1400}
    assert set(table.columns["rating"].to_pylist()) == {1, 2, 4, 5}


FILM_LINES = [b"1\t1.5\tLovely.", b"2\t-0.45\tSo so.", b"3\t-0.5\tA b\xe9 of a film.",
              b"4\t0.5\tTabs\tinside, and \xc3\xa9.", b"5\t-3.2\tAwful.", b""]  # fmt: skip


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def made_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A source distribution of the same inside, with 2,003 product sentences."""
    products = [f"{i}\t{-2.5 if i % 3 == 0 else 1.25}\tProduct {i}.".encode() for i in range(2_003)]
    inner = packed({
        "papers/README.txt": b"other",
        f"papers/{vader.FILMS}": b"\n".join(FILM_LINES),
        f"papers/{vader.PRODUCTS}": b"\r\n".join(products),
    })  # fmt: skip
    content = packed({"vaderSentiment-3.3.2/setup.py": b"raise SystemExit", vader.INNER: inner})
    monkeypatch.setattr(vader, "SHA256", hashlib.sha256(content).hexdigest())
    return content


def in_cache(cache: Path, content: bytes) -> Path:
    place = cache / "downloads" / vader.ARCHIVE
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    return place


def no_pip(*_: object, **__: object) -> None:
    raise AssertionError("pip was called")


def test_vader_ratings_become_labels(
    own_cache: Path, made_archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = in_cache(own_cache, made_archive)
    monkeypatch.setattr(subprocess, "run", no_pip)
    table = vader.read_ratings(vader.archive(), vader.FILMS)
    assert table.columns.to_pydict() == {
        "id": ["1", "3", "4", "5"],
        "rating": [1.5, -0.5, 0.5, -3.2],
        "text": ["Lovely.", "A b\ufffd of a film.", "Tabs\tinside, and é.", "Awful."],
        "label": ["positive", "negative", "positive", "negative"],
    }
    assert table.place(1) == "film reviews, line 3"
    assert sorted(p.name for p in place.parent.iterdir()) == [vader.ARCHIVE]


def test_vader_test_rows_are_fixed_and_stratified(
    own_cache: Path, made_archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache(own_cache, made_archive)
    monkeypatch.setattr(subprocess, "run", no_pip)
    source, target, test = vader.demo_examples()
    assert len(source) == 4 and len(test) == 1_000 and len(target) == 1_003
    assert not set(target.texts) & set(test.texts)
    assert abs(Counter(test.labels)["negative"] - 1_000 * 668 / 2_003) < 2
    assert vader.demo_examples()[2].digest == test.digest


def fake_pip(content: bytes | None, said: str = "") -> object:
    """Stands for subprocess.run: puts a file where pip would, or fails with a last line."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--no-binary", ":all:", "vaderSentiment==3.3.2"} <= set(command)
        if content is not None:
            place = next(Path(word) for word in command if Path(word).is_dir() and "/" in word)
            (place / vader.ARCHIVE).write_bytes(content)
        return subprocess.CompletedProcess(command, content is None, "", said)

    return run


def test_vader_is_fetched_once(
    own_cache: Path, made_archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", fake_pip(made_archive))
    place = vader.archive()
    assert place == own_cache / "downloads" / vader.ARCHIVE and place.read_bytes() == made_archive
    assert [p.name for p in place.parent.iterdir()] == [vader.ARCHIVE]
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert vader.archive() == place


def test_vader_a_damaged_copy_is_fetched_again(
    own_cache: Path, made_archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache(own_cache, made_archive[:-7])
    monkeypatch.setattr(subprocess, "run", fake_pip(made_archive))
    assert vader.archive().read_bytes() == made_archive


def test_vader_with_another_hash_is_refused_and_not_kept(
    own_cache: Path, made_archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = made_archive + b"x"
    monkeypatch.setattr(subprocess, "run", fake_pip(wrong))
    with pytest.raises(DataError) as caught:
        vader.archive()
    said = str(caught.value)
    assert hashlib.sha256(wrong).hexdigest() in said and vader.SHA256 in said
    assert list((own_cache / "downloads").iterdir()) == []


def test_vader_without_network_or_copy_says_what_to_do(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "WARNING: Retrying\nERROR: No matching distribution found for vaderSentiment==3.3.2\n\n"
    monkeypatch.setattr(subprocess, "run", fake_pip(None, said))
    with pytest.raises(DataError) as caught:
        vader.archive()
    message = str(caught.value)
    assert "ERROR: No matching distribution found" in message and "Retrying" not in message
    assert vader.ARCHIVE in message and str(own_cache) in message
    assert list((own_cache / "downloads").iterdir()) == []


def test_vader_a_damaged_copy_without_network_is_told(
    own_cache: Path, made_archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache(own_cache, made_archive[:-7])
    said = "ERROR: No matching distribution found\n[notice] A new release of pip is available\n"
    monkeypatch.setattr(subprocess, "run", fake_pip(None, said))
    with pytest.raises(
        DataError, match=r"damaged in the cache .*: ERROR: No matching distribution"
    ):
        vader.archive()


def test_the_real_reviews(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published counts, where the archive is cached or can be fetched."""
    usual = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headstart"
    for cache in (usual, own_cache):
        monkeypatch.setenv("HEADSTART_CACHE", str(cache))
        if cache == usual and not (cache / "downloads" / vader.ARCHIVE).exists():
            continue
        try:
            source, target, test = vader.demo_examples()
            break
        except DataError as error:
            pytest.skip(str(error))
    assert Counter(source.labels) == {"positive": 4_996, "negative": 5_076}  # 10,072
    assert Counter(target.labels) + Counter(test.labels) == {"positive": 1_750, "negative": 1_235}
    assert len(target) == 1_985 and len(test) == 1_000
    assert test.digest.startswith("2457180b320672ae")  # the same rows in every version
