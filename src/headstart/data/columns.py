"""Which column of a table holds the texts and which the labels."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from headstart.data.table import Table
from headstart.errors import DataError, nearest

TEXT_NAMES = ("text", "review", "sentence", "content", "body", "comment", "reviewtext",
              "review_text", "review_body", "description", "message", "document")  # fmt: skip
LABEL_NAMES = ("label", "sentiment", "class", "category", "target", "stars", "star", "rating",
               "polarity", "labels", "y")  # fmt: skip
LOOKED_AT = 1_000
LONGEST_NAME = 50
NUMBER = r"^\s*[-+]?[\d.,:/ -]*\d\s*$"
"""Numbers, dates and times: no text that says anything."""


def find_columns(
    table: Table, text: str | None, label: str | None, *, need_label: bool
) -> tuple[str, str | None]:
    """Names of the text column and, where labels are needed, of the label column.

    Args:
        text: what the user says the text column is called; None guesses.
        label: likewise the label column.

    Raises:
        DataError: a column is not there, or more than one can be meant; lists what there is.
    """
    faults: list[str] = []
    label_column = None
    try:
        label_column = _label_column(table, label, text) if need_label else None
    except DataError as error:
        faults += error.faults
    try:
        text_column = _text_column(table, text, label_column or label)
    except DataError as error:
        faults += error.faults
    if faults:
        raise DataError(
            [*faults, f"{table.name}: its columns: {_described(table)}.{_no_header(table)}"]
        )
    if text_column == label_column:
        raise DataError(
            f"{table.name}: column {text_column!r} cannot be both text and label. Name another "
            f"with --text or --label; there are: {_described(table)}."
        )
    return text_column, label_column


def _text_column(table: Table, asked: str | None, label: str | None) -> str:
    names = table.columns.column_names
    if asked is not None:
        return _asked(table, asked, "text")
    if table.text is not None:
        return table.text
    others = [n for n in names if n != label]
    known = [n for n in others if _plain(n) in TEXT_NAMES]
    if len(known) == 1:
        return known[0]
    if not known:
        if label is None:
            others = [n for n in others if _plain(n) not in LABEL_NAMES]
        wordy = [n for n in others if _is_wordy(table, n)]
        if len(wordy) == 1:
            return wordy[0]
        known = wordy
    raise _ask(table, "text", known)


def _label_column(table: Table, asked: str | None, text: str | None) -> str:
    names = table.columns.column_names
    if asked is not None:
        return _asked(table, asked, "label")
    if table.label is not None:
        return table.label
    known = [
        n for n in names if _plain(n) in LABEL_NAMES and n != text and not _is_nested(table, n)
    ]
    if len(known) == 1:
        return known[0]
    texts = [text] if text in names else [n for n in names if _plain(n) in TEXT_NAMES]
    if not known and len(names) == 2 and len(texts) == 1:
        return next(n for n in names if n not in texts)
    raise _ask(table, "label", known)


def _is_nested(table: Table, name: str) -> bool:
    return bool(pa.types.is_nested(table.columns[name].type))


def _plain(name: str) -> str:
    return name.strip().lower()


def _is_wordy(table: Table, name: str) -> bool:
    """Whether a column holds words: text, and not numbers or dates alone."""
    cells = table.columns[name].slice(0, LOOKED_AT)
    if str(cells.type) not in ("string", "large_string", "string_view"):
        return False
    number = pc.match_substring_regex(pc.cast(cells, pa.large_string()), NUMBER)
    return pc.all(number, skip_nulls=True).as_py() is False


def _asked(table: Table, name: str, what: str) -> str:
    names = table.columns.column_names
    if name not in names:
        raise DataError(f"{table.name}: has no column {name!r} (--{what}).{nearest(name, names)}")
    return name


def _ask(table: Table, what: str, candidates: list[str]) -> DataError:
    quoted = ", ".join(repr(name) for name in candidates)
    found = f"Any of {quoted} could be it" if candidates else "None has a name that says so"
    return DataError(
        f"{table.name}: which is the {what} column? {found}. Name it with --{what} COLUMN "
        f"({what}= in Python or a recipe)."
    )


def _no_header(table: Table) -> str:
    """A hint where the names of columns look like the first row of data."""
    if not any(len(name) > LONGEST_NAME for name in table.columns.column_names):
        return ""
    return " Row 1 was read as the names; if it is data, put a row such as text,label above it."


def _described(table: Table) -> str:
    """The columns there are, with a value of each."""
    first = table.columns.slice(0, 1).to_pydict()
    return ", ".join(
        f"{name[:LONGEST_NAME]} (such as {str(values[0])[:30]!r})" for name, values in first.items()
    )
