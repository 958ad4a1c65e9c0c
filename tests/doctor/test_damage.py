"""Mojibake and HTML, by hand and against ftfy on random text."""

from __future__ import annotations

import random

import pytest
from tests.doctor.conftest import made, one, subject

from headstart.doctor.damage import (
    damage,
    has_html,
    has_mojibake,
    mended,
    without_html,
    without_mojibake,
)

LETTERS = "abcdefgh éèüñßøąžőçİ “”’–…€ 中文房间 привет мир ελληνικά ไทย"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<br /><br />b", "a b"),
        ("R&amp;D at AT&amp;amp;T", "R&D at AT&T"),
        ("&lt;p&gt;one&lt;/p&gt; two", "one two"),
        ("<b>bold</b>ly <a href='http://x.y/?a=1&b=2'>linked</a>", "boldly linked"),
        ("x<script>var a = 1 < 2;</script> <!-- no --> y", "x y"),
        ("It&#39;s 5&nbsp;&euro;", "It's 5\xa0€"),
        ("caf\u00c3\u00a9 &eacute;", "café é"),
        ("It\x92s fine", "It’s fine"),
    ],
)
def test_what_is_mended(text: str, expected: str) -> None:
    assert mended(text) == expected
    assert mended(expected) == expected, "what is mended stays"


@pytest.mark.parametrize(
    "text",
    ["a < b and c > d", "I <3 you", "<name> said <unk>", "AT&T; R&D", "5 &notaname; 6", "a  b",
     "café naïve Zürich", "中文，房间。", "Ça va? Ã! voilà", "привет, ёлка", "<s> <mask> </s>"],
)  # fmt: skip
def test_what_is_whole_is_left_alone(text: str) -> None:
    assert mended(text) == text
    assert not has_html(text) and not has_mojibake(text)


def test_looking_for_html_is_finding_it() -> None:
    chance = random.Random(3)
    pieces = ["<br/>", "<p", ">", "<", "&", "&amp;", "&x;", ";", "<b>", "a", " ", "<!--", "-->",
              "</script>", "<script>", "lt;", "&lt;", "<name>"]  # fmt: skip
    for _ in range(2_003):
        text = "".join(chance.choices(pieces, k=chance.randint(1, 9)))
        assert has_html(text) == (without_html(text) != text), text


def test_mojibake_is_told_as_ftfy_tells_it() -> None:
    import ftfy

    chance = random.Random(5)
    changed = missed = 0
    for _ in range(499):
        text = "".join(chance.choices(LETTERS, k=chance.randint(3, 41)))
        for encoding in ("latin-1", "cp1252", "cp1251", None):
            try:
                seen = text if encoding is None else text.encode().decode(encoding)
            except UnicodeDecodeError:
                continue
            assert without_mojibake(seen) in (seen, ftfy.fix_encoding(seen))
            changed += without_mojibake(seen) != seen
            missed += without_mojibake(seen) != ftfy.fix_encoding(seen)
    assert changed > 300 and missed <= changed / 100


def test_rows_are_told_with_what_is_wrong_in_them() -> None:
    rows = made(("fine", "a"), ("caf\u00c3\u00a9 au lait", "b"), ("a <br> b", "a"),
                ("lost \ufffd here", "b"), ("R&amp;D", "a"))  # fmt: skip
    findings = damage(subject(rows))
    html = one(findings, "HTML remains")
    assert html.rows == (4, 6) and html.mendable and html.severity == "warning"
    assert html.details[1] == "row 6: 'R&amp;D'"
    assert one(findings, "mojibake").rows == (3,)
    lost = one(findings, "lost characters")
    assert lost.rows == (5,) and not lost.mendable
    assert damage(subject(made(("fine", "a"), ("well", "b")))) == []
