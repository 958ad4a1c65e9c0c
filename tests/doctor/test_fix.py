"""What --fix writes, in every format: what was to be mended is, and all else is as it was."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import headstart
from headstart.data.examples import examples
from headstart.data.table import read
from headstart.doctor.damage import mended as mended_text
from headstart.errors import UserError

ROWS = [  # id, text, label, price
    (101, "A good cup.", "good", 5.0),
    (103, "It's caf\u00c3\u00a9 time", "good", 4.0),
    (107, "one<br />two &amp; three", "bad", 1.0),
    (109, "A  good\tcup. ", "good", 5.0),
    (113, "A good cup.", "bad", 2.0),
    (127, "  ", "bad", 2.0),
    (131, "Seen in the <b>test</b>.", "bad", 1.0),
    (137, 'He said "no, thanks"', "bad", 1.5),
    (139, "<p></p>", "good", 4.5),
]
TEST = [(149, "Seen in the test.", "bad", 1.0), (151, "Fine &lt;3", "good", 5.0),
        (157, "Seen in the test.", "bad", 1.0)]  # fmt: skip
COLUMNS = ["id", "text", "label", "price"]
KEPT = {101: "A good cup.", 103: "It's café time", 107: "one two & three", 113: "A good cup.",
        137: 'He said "no, thanks"'}  # fmt: skip


def frame(rows=ROWS) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def write(path: Path, table: pd.DataFrame) -> Path:
    if path.name.endswith((".csv", ".csv.gz")):
        table.to_csv(path, index=False, sep=";" if "semicolon" in path.name else ",")
    elif path.suffix == ".tsv":
        table.to_csv(path, index=False, sep="\t")
    elif path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_json(path, orient="records", lines=path.suffix != ".json", force_ascii=False)
    return path


def back(path: Path) -> pd.DataFrame:
    if path.name.endswith((".csv", ".csv.gz")):
        return pd.read_csv(path, sep=";" if "semicolon" in path.name else ",")
    if path.suffix == ".tsv":
        return pd.read_csv(path, sep="\t")
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_json(path, lines=path.suffix != ".json")


def digest(path: Path) -> str:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    joined = b"".join(file.read_bytes() for file in files if file.is_file())
    return hashlib.sha256(joined).hexdigest()


def checked(target: Path, test: Path | None = None, **options) -> headstart.Checkup:
    return headstart.check(target=target, test=test, deep=False, progress=False, **options)


@pytest.mark.parametrize(
    "name",
    ["shop.csv", "semicolon.csv", "shop.csv.gz", "shop.tsv", "shop.jsonl", "shop.json",
     "shop.parquet"],
)  # fmt: skip
def test_a_table_is_mended_in_its_format(tmp_path: Path, name: str) -> None:
    target, test = write(tmp_path / name, frame()), write(tmp_path / f"test-{name}", frame(TEST))
    before = digest(target), digest(test)
    mended = {m.data: m for m in checked(target, test).fix(tmp_path / "out")}
    assert (digest(target), digest(test)) == before, "nothing that was given is touched"
    path = mended["target"].path
    assert path == tmp_path / "out" / "target" / name
    assert (mended["target"].texts, mended["target"].dropped, mended["target"].rows) == (2, 4, 5)
    found = back(path)
    assert dict(zip(found.id, found.text, strict=True)) == KEPT
    whole = frame().set_index("id")
    assert found.columns.tolist() == COLUMNS
    assert found.label.tolist() == whole.label[found.id].tolist()
    assert found.price.tolist() == whole.price[found.id].tolist()
    assert mended["test"].path is not None
    tested = back(mended["test"].path)
    assert tested.id.tolist() == [149, 151, 157], "test rows keep their repeats"
    assert tested.text.tolist() == ["Seen in the test.", "Fine <3", "Seen in the test."]
    again = checked(path, mended["test"].path)
    assert not [f for f in again.findings if f.mendable], "what is mended needs no mending"


def test_the_list_of_changes_names_each_row(tmp_path: Path) -> None:
    target = write(tmp_path / "shop.csv", frame())
    test = write(tmp_path / "test.csv", frame(TEST))
    checked(target, test).fix(tmp_path / "out")
    with (tmp_path / "out" / "changes.csv").open(newline="", encoding="utf-8") as file:
        changes = list(csv.DictReader(file))
    told = {(c["data"], int(c["row"])): c["change"] for c in changes}
    assert told == {
        ("target", 3): "text mended",
        ("target", 4): "text mended",
        ("target", 5): "left out: repeats row 2",
        ("target", 7): "left out: no text",
        ("target", 8): "left out: has the text of test row 2",
        ("target", 10): "left out: no text",
        ("test", 3): "text mended",
    }
    assert [c["after"] for c in changes if c["row"] == "4"] == ["one two & three"]
    assert [c["before"] for c in changes if c["row"] == "4"] == ["one<br />two &amp; three"]


def test_json_lines_without_a_change_stay_as_they_stand(tmp_path: Path) -> None:
    lines = [
        '{"text":  "Fine.", "label": 1, "more": {"a": [1, null]}, "big": 12345678901234567890}',
        '{"text": "a<br>b", "label": 0, "rare": null}',
        "",
        '{"label": 1, "text": "x y"}',
    ]
    target = tmp_path / "shop.jsonl"
    target.write_text("\n".join(lines))
    (mended,) = checked(target).fix(tmp_path / "out")
    assert mended.path is not None
    found = mended.path.read_text().splitlines()
    assert found[0] == lines[0] and found[2] == lines[3] and len(found) == 3
    assert json.loads(found[1]) == {"text": "a b", "label": 0, "rare": None}


def test_parquet_keeps_its_schema(tmp_path: Path) -> None:
    import pyarrow.parquet

    table = frame()
    table["label"] = table.label.astype("category")
    target = write(tmp_path / "shop.parquet", table)
    (mended,) = checked(target).fix(tmp_path / "out")
    schemas = [pyarrow.parquet.read_schema(path) for path in (target, mended.path)]
    assert schemas[0].equals(schemas[1], check_metadata=True)


def test_literal_quotes_of_a_tsv_stay(tmp_path: Path) -> None:
    target = tmp_path / "glue.tsv"
    target.write_text('text\tlabel\n"odd quote\t1\nfine & well\t0\na&#9;<br>b" c\t1\nmore\t0\n')
    (mended,) = checked(target).fix(tmp_path / "out")
    assert mended.path is not None
    assert mended.path.read_text() == (
        'text\tlabel\n"odd quote\t1\nfine & well\t0\na b" c\t1\nmore\t0\n'
    )


def test_the_official_folders_are_mended(real: Path, tmp_path: Path) -> None:
    given = tmp_path / "aclImdb"
    for part in ("pos", "neg"):
        (given / "train" / part).mkdir(parents=True)
        for file in sorted((real / "imdb" / "aclImdb" / "train" / part).iterdir())[:17]:
            shutil.copyfile(file, given / "train" / part / file.name)
    twin = next((given / "train" / "pos").iterdir())
    shutil.copyfile(twin, given / "train" / "pos" / "99999_9.txt")
    before = digest(given)
    (mended,) = checked(given).fix(tmp_path / "out")
    assert digest(given) == before and mended.path == tmp_path / "out" / "target" / "aclImdb"
    assert mended.dropped == 1 and mended.rows == 34
    rows = examples(read(mended.path))
    assert len(rows) == 34 and not any("<br" in text for text in rows.texts)
    untouched = [
        f
        for f in (given / "train" / "neg").iterdir()
        if mended_text(f.read_text()) == f.read_text()
    ]
    assert untouched
    for file in untouched:
        assert (mended.path / "train" / "neg" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("whole", [True, False])
def test_reviews_between_tags_are_mended(real: Path, tmp_path: Path, whole: bool) -> None:
    folder = real / "amazon_multi_domain" / "sorted_data_acl"
    given = folder / "dvd"
    if not whole:
        given = tmp_path / "all.review"
        halves = [(folder / "dvd" / f"{p}.review").read_bytes() for p in ("positive", "negative")]
        given.write_bytes(b"\n".join(halves))
    before = digest(given)
    (mended,) = checked(given).fix(tmp_path / "out")
    assert digest(given) == before and mended.path is not None and mended.texts
    rows, fresh = (examples(read(path)) for path in (given, mended.path))
    assert len(fresh) == len(rows) - mended.dropped == mended.rows
    assert not [f for f in checked(mended.path).findings if f.mendable]


def test_what_would_touch_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    target = write(tmp_path / "in" / "shop.csv", frame())
    checkup = checked(target)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"holds other things \(thesis.tex\)"):
        checkup.fix(tmp_path / "theirs")
    with pytest.raises(UserError, match=r"shop\.csv is in it"):
        checkup.fix(tmp_path / "in")
    with pytest.raises(UserError, match="is a file"):
        checkup.fix(target)
    with pytest.raises(UserError, match="target was given as a DataFrame"):
        headstart.check(target=frame(), deep=False, progress=False).fix(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    checkup.fix(tmp_path / "out")
    checkup.fix(tmp_path / "out")  # its own folder is written anew


def test_without_faults_nothing_is_written_but_the_list(tmp_path: Path) -> None:
    target = write(tmp_path / "shop.csv", frame([ROWS[0], ROWS[7]]))
    (mended,) = checked(target).fix(tmp_path / "out")
    assert mended.path is None and mended.rows == 2
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["changes.csv"]


def test_packed_files_are_packed_again(tmp_path: Path) -> None:
    target = write(tmp_path / "shop.csv.gz", frame())
    (mended,) = checked(target).fix(tmp_path / "out")
    assert mended.path is not None
    with gzip.open(mended.path, "rt", encoding="utf-8") as file:
        assert file.readline() == "id,text,label,price\n"
