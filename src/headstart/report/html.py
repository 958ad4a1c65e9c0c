"""Verdicts as self-contained HTML files: no request, good on paper, alive where it helps."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, PackageLoader
from markupsafe import Markup

from headstart.data.atomic import write_atomically
from headstart.errors import UserError
from headstart.explain.page import layer_rows, page, script_data
from headstart.report import words
from headstart.report.others import OTHERS
from headstart.report.view import view

VERDICTS = ("headstart.verdict/1", "headstart.verdict/2")
EXPLANATION = "headstart.explanation/1"


def render(values: Mapping[str, Any]) -> str:
    """Lay out the content of verdict.json; what it does not hold is left out of the page.

    Args:
        values: of a comparison, or of a run that ended otherwise, a ranking or an explanation.

    Raises:
        UserError: its schema is not one that can be laid out.
    """
    # Empty sections are as good as absent ones.
    given = {key: value for key, value in values.items() if value not in (None, [], {}, "")}
    schema = given.get("schema", VERDICTS[0])
    if schema in VERDICTS:
        return filled("verdict.html.j2", view(given))
    if schema in OTHERS:
        return filled("other.html.j2", OTHERS[schema](given))
    if schema == EXPLANATION:
        explanation: Any = values
        return page(explanation)
    known = ", ".join([*VERDICTS, *OTHERS, EXPLANATION])
    raise UserError(
        f"schema {schema!r}: this headstart makes no report of it. It knows {known}. A newer "
        "headstart may have written it: pip install --upgrade headstart."
    )


def write_report(values: Mapping[str, Any], path: str | Path) -> None:
    """Write the report, whole or not at all.

    Raises:
        UserError: the disk is full, the place cannot be written, or the schema is not known.
    """
    content = render(values).encode("utf-8")
    with write_atomically(Path(path)) as file:
        file.write(content)


def filled(template: str, given: Mapping[str, Any]) -> str:
    """A whole page from a template and what it reads."""
    script = files("headstart.report").joinpath("script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    text = _environment().get_template(template).render(
        {**given, "script": Markup(script), "script_digest": f"sha256-{digest}"}
    )  # fmt: skip
    return words.printable(text)


def as_json(value: Any) -> Markup:
    """Plain values inside a <script> element; what is not finite becomes null."""
    return script_data(json.loads(json.dumps(value), parse_constant=lambda name: None))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("headstart.report", "."),
        autoescape=True,
        undefined=ChainableUndefined,
        finalize=lambda value: words.ABSENT if value is None else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for shown in (words.number, words.share, words.hundredths, words.points, words.rate,
                  words.memory, words.seconds, words.arrows, words.way, words.clip, words.count,
                  words.signed, words.watt_hours, words.measure, words.measures,
                  layer_rows):  # fmt: skip
        environment.filters[shown.__name__] = shown
    environment.filters["script_data"] = as_json
    return environment
