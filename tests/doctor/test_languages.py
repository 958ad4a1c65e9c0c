"""Scripts and languages, on real captions in three languages and real Chinese reviews."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from tests.doctor.conftest import made, one, subject

from headstart.data.examples import Examples
from headstart.doctor.examine import examine
from headstart.doctor.languages import main_language, main_script, odd_rows, scripts_of
from headstart.doctor.reading import SCRIPTS, Alphabet, read_texts, script_of


def captions(real: Path, language: str, count: int = 997) -> list[str]:
    file = real / "multi30k" / "data" / "task1" / "raw" / f"train.{language}.gz"
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [line.strip() for _, line in zip(range(count), lines, strict=False)]


def rows_of(texts: list[str], name: str = "x.csv") -> Examples:
    return made(*((text, "ab"[number % 2]) for number, text in enumerate(texts)), name=name)


@pytest.mark.parametrize(
    ("letter", "script"),
    [("a", "Latin"), ("é", "Latin"), ("中", "Han"), ("あ", "Kana"), ("ア", "Kana"),
     ("한", "Hangul"), ("ж", "Cyrillic"), ("ع", "Arabic"), ("α", "Greek"), ("א", "Hebrew"),
     ("ไ", "Thai")],
)  # fmt: skip
def test_letters_have_scripts(letter: str, script: str) -> None:
    assert SCRIPTS[script_of(letter)] == script


def test_what_is_no_letter_has_none() -> None:
    assert {script_of(character) for character in "1 .,½€ªµ°－\ufffd"} == {-1}


def test_letters_are_counted_alike_in_ascii_and_beyond() -> None:
    counts = Alphabet().counts(["Ab1 c.", "", "éa中", "!?", "ёж z"])
    latin, han, cyrillic = (SCRIPTS.index(name) for name in ("Latin", "Han", "Cyrillic"))
    assert counts[:, latin].tolist() == [3, 0, 2, 0, 1]
    assert counts[:, han].tolist() == [0, 0, 1, 0, 0]
    assert counts[:, cyrillic].tolist() == [0, 0, 0, 0, 2]
    assert counts.sum() == 9


@pytest.mark.parametrize(
    ("code", "language"), [("en", "English"), ("de", "German"), ("fr", "French")]
)
def test_real_captions_are_told_by_their_function_words(
    real: Path, code: str, language: str
) -> None:
    reading = read_texts(subject(rows_of(captions(real, code))))
    assert main_script(reading) == "Latin" and main_language(reading) == language


def test_rows_in_another_language_and_script_are_found(real: Path) -> None:
    texts = captions(real, "en")
    german = captions(real, "de")
    planted = [113, 307, 701]
    for place in planted:
        texts[place] = " ".join(german[place : place + 3])
    texts[503] = "房间很大，服务很好，价格也合理"
    findings = odd_rows(subject(rows_of(texts)), read_texts(subject(rows_of(texts))))
    odd = one(findings, "rows in another language")
    assert {place + 2 for place in planted} <= set(odd.rows) and len(odd.rows) <= 4
    assert odd.details[0].startswith("row 115: German: ")
    assert one(findings, "rows in another script").rows == (505,)


def test_no_language_is_named_without_evidence() -> None:
    reading = read_texts(subject(rows_of(["zorg blif quux"] * 7)))
    assert main_language(reading) is None and scripts_of(reading) == {"Latin": 1.0}
    assert main_script(read_texts(subject(rows_of(["123", "!?"])))) is None


def test_data_sets_apart_in_language_and_script(real: Path) -> None:
    english, french = (rows_of(captions(real, code), code) for code in ("en", "fr"))
    chinese = rows_of(["这家酒店的服务很好", "房间太小，不推荐"] * 29, "zh")
    languages = one(examine({"source": english, "target": french}), "different languages")
    assert "English" in languages.message and "French" in languages.message
    scripts = one(examine({"source": english, "target": chinese}), "different scripts")
    assert "Latin" in scripts.message and "Han" in scripts.message
    kinds = {f.kind for f in examine({"source": english, "target": english.take(np.arange(499))})}
    assert not kinds & {"different languages", "different scripts"}
