"""What was done to texts on their way here: decoded wrongly, or cut out of a web page.

Mojibake is what stands where bytes of one encoding were read as another: "cafÃ©" for "café". ftfy
(Speer 2019, zenodo.2591652) knows which sequences are so unlikely in real text that they must be
that, and turns them back. Where a byte was lost, U+FFFD stands in its place, and nothing can be
turned back.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from html.entities import html5

import numpy as np

from headstart.data.findings import Finding, Severity
from headstart.data.mapped import at_once
from headstart.doctor.subject import DETAILED, Subject, share_of

BLOCK = 10_000
ROUNDS = 3
"""Times that a text is mended at most: what was escaped twice needs two."""

WARNED = 0.01
"""Share of rows from which what is found is more than a note."""

BREAKING = (
    "address article aside blockquote body br center dd div dl dt figcaption figure footer form "
    "h1 h2 h3 h4 h5 h6 head header hr html li main nav ol option p pre section select table tbody "
    "td tfoot th thead title tr ul"
).split()
"""Elements that end a word or a line."""

INLINE = (
    "a abbr acronym audio b base big button cite code del em embed font i iframe img input ins kbd "
    "label link mark meta noscript object param picture small source span strike strong sub "
    "sup svg tt u var video"
).split()
"""Elements inside a line."""

OPEN = r"</?(?:{names})(?:\s[^<>]{{0,2000}})?/?>"
HIDDEN = re.compile(
    r"<!--.{0,5000}?-->|<!doctype\b[^<>]{0,500}>|<(script|style)\b[^<>]{0,500}>.{0,20000}?</\1\s*>",
    re.IGNORECASE | re.DOTALL,
)
"""What no reader of the page sees."""

LINE_ENDS = re.compile(OPEN.format(names="|".join(BREAKING)), re.IGNORECASE)
IN_LINES = re.compile(OPEN.format(names="|".join(INLINE)), re.IGNORECASE)
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
LOST = "\ufffd"
SUSPICIOUS = re.compile("[\x80-\x9f√Γ├┬]|[‰ÂÊÁËÈÍÎÏÌÓÔ][^\x00-\x7f]{2}")
"""Control characters that were punctuation in Windows-1252, and how UTF-8 begins where it was read
as MacRoman or as that of DOS."""


def without_html(text: str) -> str:
    """A text without the tags, comments and entities that a page left in it.

    Only known elements are taken out, so that "a < b" and "<name>" stay. Where a tag that ends a
    line stood between two words, a blank stands instead.
    """
    if "<" not in text and "&" not in text:
        return text
    for _ in range(ROUNDS):
        before = text
        text = LINE_ENDS.sub(" ", HIDDEN.sub(" ", text))
        text = IN_LINES.sub("", text)
        text = ENTITY.sub(lambda found: _character(found[0]), text)
        if text == before:
            return text
    return text


def _character(entity: str) -> str:
    """What an entity stands for; itself, where it is none."""
    return html.unescape(entity) if entity[1] == "#" else html5.get(entity[1:], entity)


def has_html(text: str) -> bool:
    """Whether `without_html` would change a text."""
    if "<" in text and any(tag.search(text) for tag in (LINE_ENDS, IN_LINES, HIDDEN)):
        return True
    return "&" in text and any(_character(e[0]) != e[0] for e in ENTITY.finditer(text))


def has_mojibake(text: str) -> bool:
    """Whether `without_mojibake` would change a text."""
    return without_mojibake(text) != text


def has_lost(text: str) -> bool:
    """Whether a text lost a character."""
    return LOST in text


def without_mojibake(text: str) -> str:
    """A text whose wrongly decoded characters are turned back into what they were."""
    if text.isascii():
        return text
    from ftfy import fix_encoding
    from ftfy.chardata import UTF8_DETECTOR_RE

    # ftfy weighs every character, which takes a second for a thousand long texts; where none of
    # these sequences occurs, it changes nothing.
    if not (SUSPICIOUS.search(text) or UTF8_DETECTOR_RE.search(text)):
        return text
    return fix_encoding(text)


def mended(text: str) -> str:
    """A text without both; as it is, where there was neither.

    Blanks that taking tags out left are closed up.
    """
    decoded = without_mojibake(text)
    plain = without_html(decoded)
    if plain == decoded:
        return decoded
    return re.sub(r"[ \t\xa0]{2,}", " ", plain).strip()


def damage(subject: Subject) -> list[Finding]:
    """Texts with remains of HTML, with mojibake, and with characters that were lost."""
    wrong, html_rows, lost = _where(subject, (has_mojibake, has_html, has_lost))
    total = len(subject.chosen)
    findings = []
    if len(wrong):
        findings.append(subject.finding(
            "mojibake",
            f"{share_of(len(wrong), total)} texts were decoded wrongly on their way here, as in "
            f"{_example(subject, wrong[0], without_mojibake)}.",
            wrong, severity=_severity(len(wrong), total), mendable=True,
            remedy="Export the file as UTF-8 again, or let --fix turn them back.",
            details=_examples(subject, wrong, without_mojibake),
        ))  # fmt: skip
    if len(html_rows):
        findings.append(subject.finding(
            "HTML remains",
            f"{share_of(len(html_rows), total)} texts hold tags or entities of a web page, as "
            f"{_example(subject, html_rows[0], without_html)}.",
            html_rows, severity=_severity(len(html_rows), total), mendable=True,
            remedy="Take them out where the texts come from, or let --fix do it; texts to be "
            "predicted need the same.",
            details=_examples(subject, html_rows, without_html),
        ))  # fmt: skip
    if len(lost):
        findings.append(subject.finding(
            "lost characters",
            f"{share_of(len(lost), total)} texts hold U+FFFD, where a character was lost.",
            lost, severity=_severity(len(lost), total),
            remedy="Export the texts again from where they are whole; nothing here can tell what "
            "was lost.",
            details=tuple(_around(subject.rows.texts[p], LOST) for p in lost[:DETAILED].tolist()),
        ))  # fmt: skip
    return findings


def _severity(count: int, total: int) -> Severity:
    return "warning" if count >= WARNED * total else "note"


def _where(subject: Subject, looks: Sequence[Callable[[str], bool]]) -> list[np.ndarray]:
    """For each look the places of the rows, among those looked at, whose text is so."""
    texts = subject.sample.texts
    seen = np.zeros((len(texts), len(looks)), dtype=bool)
    step = at_once(texts, BLOCK)
    for start in range(0, len(texts), step):
        for place, text in enumerate(texts[start : start + step], start):
            seen[place] = [look(text) for look in looks]
    return [subject.chosen[column] for column in seen.T]


def _example(subject: Subject, place: int, mend: Callable[[str], str]) -> str:
    text = subject.rows.texts[int(place)]
    return _change(text, mend(text))


def _examples(subject: Subject, places: np.ndarray, mend: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(_example(subject, place, mend) for place in places[:DETAILED].tolist())


def _change(before: str, after: str) -> str:
    """Where two texts first differ, a few characters of the first."""
    same = 0
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        same += 1
    start = max(0, same - 12)
    return repr(before[start : start + 32])


def _around(text: str, what: str) -> str:
    start = max(0, text.index(what) - 12)
    return repr(text[start : start + 32])
