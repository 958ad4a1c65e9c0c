"""Faults planted in real files: each is found, with the rows as the user counts them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.conftest import PRODUCT, reviews
from tests.doctor.conftest import made, one

import headstart
from headstart.data.examples import examples
from headstart.data.table import read
from headstart.data.texts import Texts
from headstart.doctor.examine import examine
from headstart.errors import CheckpointError, DataError, RecipeError


def amazon(real: Path, domain: str) -> list[list[str]]:
    rows = examples(read(real / "amazon_multi_domain" / "sorted_data_acl" / domain))
    assert rows.labels is not None
    texts = [" ".join(text.split()).replace("&", "and") for text in rows.texts]
    unique = dict(zip(texts, rows.labels, strict=True))
    return [[text, label] for text, label in unique.items() if "<" not in text]


def write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    return path


def test_the_31_abstracts_under_a_second_label(real: Path) -> None:
    folder = real / "medical_abstracts"
    checkup = headstart.check(
        target=folder / "medical_tc_train.csv", test=folder / "medical_tc_test.csv",
        label="condition_label", deep=False, progress=False,
    )  # fmt: skip
    finding = one(list(checkup.findings), "contradicting labels", "target")
    assert finding.count == len(finding.rows) == 31
    table = pd.read_csv(folder / "medical_tc_train.csv")
    for row, detail in zip(finding.rows, finding.details, strict=True):
        same = table[table.medical_abstract == table.medical_abstract[row - 2]]
        assert same.index[0] + 2 < row and same.condition_label.nunique() > 1
        assert f"'{table.condition_label[row - 2]}', but row " in detail


def test_planted_faults_in_real_reviews(real: Path, tmp_path: Path) -> None:
    rows, test = amazon(real, "books"), amazon(real, "dvd")
    other = {"positive": "negative", "negative": "positive"}
    rows[11][0] = ""
    rows[13][1] = " "
    rows[29] = list(rows[7])
    rows[31] = [rows[5][0], other[rows[5][1]]]
    rows[37][0] = test[41][0]
    words = test[43][0].split()
    words[len(words) // 2] = "wonderfully"
    rows[47][0] = " ".join(words)
    rows[53][0] = rows[53][0] + "<br />caf&eacute;"
    rows[59][0] = rows[59][0] + " na\u00c3\u00afve caf\u00c3\u00a9"
    rows[61][0] = rows[61][0] + " clich\ufffd"
    rows[67][0] = "这本书写得很好，我非常喜欢，推荐给大家"
    rows[71][0] = ("Das ist ein Buch, das ich nicht noch einmal lesen werde, und der Autor hat "
                   "sich mit dem Ende auch keine Mühe gegeben")  # fmt: skip
    rows[73][1] = "Positive"
    paths = write(tmp_path / "shop.csv", rows), write(tmp_path / "test.csv", test)
    checkup = headstart.check(target=paths[0], test=paths[1], deep=False, progress=False)
    expected = {  # the header is row 1, so the first row is row 2
        "empty texts": (13,),
        "missing labels": (15,),
        "repeated texts": (31,),
        "contradicting labels": (33,),
        "duplicates of test rows": (39,),
        "near-duplicates of test rows": (49,),
        "HTML remains": (55,),
        "mojibake": (61,),
        "lost characters": (63,),
        "rows in another script": (69,),
        "rows in another language": (73,),
        "label spellings": (75,),
        "small classes": (75,),
    }
    for kind, numbers in expected.items():
        finding = one(list(checkup.findings), kind, "target")
        assert finding.rows[: len(numbers)] == numbers or set(numbers) <= set(finding.rows), kind
        assert finding.remedy and finding.count >= 1
        if kind not in ("contradicting labels", "near-duplicates of test rows", "lost characters"):
            assert finding.rows == numbers, kind
    order = [finding.severity for finding in checkup.findings]
    assert order == sorted(order, key=["harmful", "warning", "note"].index)


def test_examine_keeps_few_rows_and_a_check_keeps_all(real: Path) -> None:
    rows = examples(read(real / "imdb" / "aclImdb", split="test")).take(np.arange(211))
    html = one(examine({"source": rows}), "HTML remains")
    assert html.count > 100 and len(html.rows) == len(html.details) == 20
    whole = one(examine({"source": rows}, most_rows=None), "HTML remains")
    assert len(whole.rows) == whole.count == html.count and whole.rows[:20] == html.rows
    checkup = headstart.check(source=real / "imdb" / "aclImdb", deep=False, progress=False)
    named = one(list(checkup.findings), "HTML remains")
    assert named.details[0].startswith("train/pos/") and len(named.rows) == named.count


def test_what_is_kept_in_files_is_examined_alike(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = amazon(real, "books")
    rows += [[rows[5][0], "negative"], [rows[5][0], "positive"], ["a<br>b", "positive"]]
    path = write(tmp_path / "shop.csv", rows)
    in_memory = examine({"target": examples(read(path))})
    monkeypatch.setattr("headstart.data.mapped.LARGE", 1_000)
    mapped = examples(read(path))
    assert isinstance(mapped.texts, Texts)
    assert examine({"target": mapped}) == in_memory
    assert {"contradicting labels", "repeated texts"} <= {f.kind for f in in_memory}


def test_of_many_rows_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.doctor.subject.MOST_ROWS", 101)
    rows = made(*((f"text {n} <br> more", "ab"[n % 2]) for n in range(499)))
    findings = examine({"target": rows}, most_rows=None)
    assert "101 of 499 (20.2 %) rows, drawn" in one(findings, "rows drawn").message
    html = one(findings, "HTML remains")
    assert html.count == 101 and "101 of 101" in html.message and max(html.rows) > 300


def test_a_data_set_of_any_names_is_examined(real: Path) -> None:
    rows = examples(read(real / "amazon_multi_domain" / "sorted_data_acl" / "books"))
    part = rows.take(np.arange(0, 601, 3))
    findings = examine({"books": rows, "shop": part, "test": part})
    assert {f.data for f in findings if f.kind == "duplicates of test rows"} == {"books", "shop"}


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    columns = ["text", "label"]
    return {
        "source": pd.DataFrame(reviews(211, 3), columns=columns),
        "target": pd.DataFrame(reviews(101, 5, PRODUCT), columns=columns),
        "test": pd.DataFrame(reviews(61, 7, PRODUCT), columns=columns),
    }


def test_the_deep_look(tiny_bert, frames) -> None:
    target = frames["target"]
    target.loc[17, "label"] = {"positive": "negative", "negative": "positive"}[target.label[17]]
    checkup = headstart.check(**frames, backbone=str(tiny_bert), progress=False)
    assert [each.key for each in checkup.sets] == ["source", "target", "test"]
    assert checkup.sets[0].classes == {"negative": 105, "positive": 106}
    assert checkup.sets[0].tokens is not None and checkup.sets[0].tokens.unknown == 0
    assert [test.data for test in checkup.two_samples] == ["source", "test"]
    assert checkup.cost is not None and set(checkup.cost.pass_seconds) == {"source", "target"}
    assert checkup.looked_at == {"source": 211, "target": 101, "test": 61}
    values = json.loads(checkup.to_json())
    assert values["schema"] == 1 and len(values["findings"]) == len(checkup.findings)
    assert values["findings"][0].keys() >= {"kind", "severity", "rows", "details", "remedy"}
    drawn = headstart.check(**frames, backbone=str(tiny_bert), deep_rows=53, progress=False)
    assert drawn.looked_at == {"source": 53, "target": 53, "test": 53}


def test_what_cannot_be_is_said(tiny_bert, frames, tmp_path) -> None:
    with pytest.raises(RecipeError, match="nothing to look at"):
        headstart.check(progress=False)
    with pytest.raises(CheckpointError):
        headstart.check(target="no.csv", backbone=str(tmp_path / "none"), progress=False)
    with pytest.raises(RecipeError, match="must be 4 to 37"):
        headstart.check(**frames, backbone=str(tiny_bert), max_length=64, progress=False)
    with pytest.raises(DataError) as caught:
        headstart.check(source=tmp_path / "no.csv", target=tmp_path / "nor.csv", deep=False,
                        progress=False)  # fmt: skip
    assert len(caught.value.faults) == 2
    with pytest.raises(RecipeError, match="deep_rows"):
        headstart.check(**frames, deep_rows=0, progress=False)
