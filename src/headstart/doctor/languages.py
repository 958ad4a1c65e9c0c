"""In which scripts and languages data sets are written, as far as counting can tell.

A script is told by the Unicode names of letters. A language is told by its function words, of the
languages in `function_words`: the share of a data set's words that are on a language's list. That
is no proof; it tells English from German, and not one dialect from another.

Shapes: M rows looked at, L languages, S scripts.
"""

from __future__ import annotations

import numpy as np

from headstart.data.findings import Finding
from headstart.doctor.function_words import LANGUAGES, LISTS, OF_SCRIPTS, WEIGHTS
from headstart.doctor.reading import SCRIPTS, Reading
from headstart.doctor.subject import DETAILED, Subject, pairs_with_target, percent, share_of

LEAST_SHARE = 0.08
"""Of a data set's words that are function words of a language alone, for it to be named."""

LEAD = 1.5
"""How many times the share of the second language it must be."""

LEAST_WEIGHT = 3.0
"""Different function words of its own that a single text must hold for its language to be named."""

TOGETHER = {"Han": {"Han", "Kana"}, "Kana": {"Han", "Kana"}, "Hangul": {"Hangul", "Han"}}
"""Scripts that one text mixes."""


def main_script(reading: Reading) -> str | None:
    """The script of most letters; None where there are none."""
    letters = reading.scripts.sum(0)
    if not letters.any():
        return None
    kana, han = SCRIPTS.index("Kana"), SCRIPTS.index("Han")
    if letters[kana] > letters[han] / 10 and letters[kana] + letters[han] > letters.sum() / 2:
        return "Kana"  # Japanese writes both
    return SCRIPTS[int(letters.argmax())]


def main_language(reading: Reading) -> str | None:
    """The language whose function words are clearly most; None where that cannot be told."""
    script = main_script(reading)
    if script in OF_SCRIPTS:
        return OF_SCRIPTS[script]
    counts = [
        sum(reading.vocabulary[word] * WEIGHTS[word] for word in words.split())
        for words in LISTS.values()
    ]
    *_, second, first = sorted(counts)
    if first < LEAST_SHARE * max(reading.vocabulary.total(), 1) or first < LEAD * second:
        return None
    return LANGUAGES[counts.index(first)]


def odd_rows(subject: Subject, reading: Reading) -> list[Finding]:
    """Rows in another script or language than the data set's."""
    script, language = main_script(reading), main_language(reading)
    if script is None:
        return []
    findings = []
    own = [SCRIPTS.index(name) for name in TOGETHER.get(script, {script})]
    letters = reading.scripts.sum(1)
    odd = (letters > 0) & (reading.scripts[:, own].sum(1) < 0.5 * letters)
    if odd.any():
        findings.append(_odd(
            subject, "rows in another script", np.flatnonzero(odd),
            f"letters mostly not {script}, in which the others are written",
            [SCRIPTS[int(row.argmax())] for row in reading.scripts[odd]],
        ))  # fmt: skip
    if language in LANGUAGES:
        hits = reading.languages
        best = hits.argmax(1)
        top, mine = hits.max(1), hits[:, LANGUAGES.index(language)]
        other = (top >= LEAST_WEIGHT) & (mine * 3 <= top) & ~odd
        if other.any():
            findings.append(_odd(
                subject, "rows in another language", np.flatnonzero(other),
                f"function words of another language than {language}",
                [LANGUAGES[int(b)] for b in best[other]],
            ))  # fmt: skip
    return findings


def apart(found: list[Subject], readings: list[Reading]) -> list[Finding]:
    """Data sets in another script or language than the target."""
    told = {
        subject.key: (main_script(reading), main_language(reading))
        for subject, reading in zip(found, readings, strict=True)
    }
    findings = []
    for subject, target in pairs_with_target(found):
        (script, language), (its_script, its_language) = told[subject.key], told[target.key]
        if None not in (script, its_script) and script != its_script:
            what, here, there = "scripts", script, its_script
        elif None not in (language, its_language) and language != its_language:
            what, here, there = "languages", language, its_language
        else:
            continue
        findings.append(Finding(
            kind=f"different {what}",
            message=f"{subject.name} is written in {here}, {target.name} in {there} (told by "
            f"{'letters' if what == 'scripts' else 'function words'}).",
            count=len(subject.rows), data=subject.key, severity="warning",
            remedy="Take a backbone that was trained on both, such as xlm-roberta-base or "
            "paraphrase-multilingual-MiniLM-L12-v2; with one of a single language nothing carries "
            "over.",
        ))  # fmt: skip
    return findings


def _odd(subject: Subject, kind: str, rows: np.ndarray, what: str, names: list[str]) -> Finding:
    places = subject.chosen[rows]
    share = len(rows) / len(subject.chosen)
    return subject.finding(
        kind,
        f"{share_of(len(rows), len(subject.chosen))} texts have {what}.",
        places,
        severity="warning" if share >= 0.01 else "note",
        remedy="Leave them out, or take a backbone that was trained on several languages.",
        details=tuple(
            f"{name}: {subject.quote(place)}"
            for name, place in zip(names[:DETAILED], places[:DETAILED].tolist(), strict=True)
        ),
    )


def scripts_of(reading: Reading) -> dict[str, float]:
    """Share of the letters of each script, the commonest first; those that occur."""
    letters = reading.scripts.sum(0)
    total = max(1, int(letters.sum()))
    order = np.argsort(-letters, kind="stable")
    return {SCRIPTS[i]: float(letters[i] / total) for i in order.tolist() if letters[i]}


def described(reading: Reading) -> str:
    """ "Latin letters, English by its function words"."""
    scripts = scripts_of(reading)
    if not scripts:
        return "no letters"
    (first, share), *rest = scripts.items()
    letters = f"{first} letters" if share > 0.99 else f"{percent(share)} {first} letters" + (
        f", {percent(rest[0][1])} {rest[0][0]}" if rest else "")  # fmt: skip
    language = main_language(reading)
    by = "by its script" if language in OF_SCRIPTS.values() else "by its function words"
    return letters + (f", {language} {by}" if language else "")
