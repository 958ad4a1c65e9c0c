"""headstart explain: why a model answers as it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headstart.data.examples import Examples
    from headstart.explain.explanation import Asked
    from headstart.explain.values import ExplanationValues
    from headstart.training.model import Trained

MODEL = typer.Argument(metavar="MODEL", help="The output folder of a run, a model/ folder, or a "
                       "classifier of transformers.")  # fmt: skip
WHAT = typer.Argument(metavar="TEXT...|FILE", help="Texts; or a table file, whose first rows are "
                      "explained.")  # fmt: skip
METHOD = typer.Option(metavar="NAME", help="auto (the most faithful on this model), "
                      "integrated-gradients, gradient-x-input, relevance, occlusion or "
                      "rollout.")  # fmt: skip
CLASS = typer.Option("--class", metavar="NAME", help="The class to explain. Default: the one that "
                     "is predicted.")  # fmt: skip
ATTENTION = typer.Option("--attention", help="What every layer and head looks at; MODEL then need "
                         "not be a classifier, and FILE may be an image.")  # fmt: skip
BEFORE = typer.Option(metavar="MODEL|WAY", help="Another model, or a way of the run such as source,"
                      " to see what changed since; may be given several times.")  # fmt: skip
TRAIN = typer.Option(metavar="FILE", help="Labelled training rows: shows the nearest to each text, "
                     "and compares layers with the backbone's.")  # fmt: skip
WORDS = typer.Option("--words", help="Over all of FILE: which words drive each class.")
ROWS = typer.Option(metavar="N", min=0, help="How many rows of FILE are explained one by one. "
                    "Default: 5, with --words 0.")  # fmt: skip
TEXT = typer.Option(metavar="COL", help="Text column of the files. Default: guessed.")
LABEL = typer.Option(metavar="COL", help="Label column of --train. Default: guessed.")
HTML = typer.Option(metavar="FILE", help="Write one page that opens offline; in it attention "
                    "answers to pointer and keyboard.")  # fmt: skip
JSON = typer.Option("--json", help="Print JSON instead of the text.")


def explain_command(
    model: Annotated[str, MODEL],
    what: Annotated[list[str], WHAT],
    method: Annotated[str, METHOD] = "auto",
    class_name: Annotated[str | None, CLASS] = None,
    attention: Annotated[bool, ATTENTION] = False,
    before: Annotated[list[str] | None, BEFORE] = None,
    train: Annotated[str | None, TRAIN] = None,
    words: Annotated[bool, WORDS] = False,
    rows: Annotated[int | None, ROWS] = None,
    text: Annotated[str | None, TEXT] = None,
    label: Annotated[str | None, LABEL] = None,
    html: Annotated[Path | None, HTML] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Show which words made a model answer as it does, and how far that can be believed.

    Several methods score the words; each is judged by hiding words from the
    model, and the most faithful one is shown.

    Examples:

      headstart explain runs/shop "It broke after a day."
      headstart explain runs/shop "It broke." --before source --html why.html
      headstart explain runs/shop reviews.csv --words --train shop.csv
      headstart explain bert-base-uncased "The cat sat." --attention
    """
    from headstart.explain.attribution import check_method
    from headstart.explain.opening import NoClassifierError, open_model

    check_method(method)
    texts, file = _texts(what, text, rows, words=words, images=attention)
    more = bool(before or train or words or class_name or method != "auto")
    try:
        opened = open_model(model)
    except NoClassifierError:
        if not attention or more or file is not None:
            raise
        from headstart.explain.looking import attention_alone

        _leave(attention_alone(model, what), html, json)
        return
    from headstart.explain.explanation import Asked
    from headstart.explain.opening import open_before

    asked = Asked(
        method=method,
        class_name=class_name,
        attention=attention,
        before=tuple((name, open_before(name, model)) for name in before or ()),
        train=None if train is None else _rows(train, text, label, labels=True),
        words=file if words else None,
    )
    numbers = None if file is None else file.rows[: len(texts)].tolist()
    _leave(_explained(model, opened, texts, numbers, asked), html, json)


def _explained(
    model: str, opened: Trained, texts: list[str], numbers: list[int] | None, asked: Asked
) -> ExplanationValues:
    from headstart.explain.explanation import explain
    from headstart.training.progress import OnConsole

    name = Path(model).resolve().name if Path(model).exists() else model
    taken = {other for other, _ in asked.before}
    name = model if name in taken else name
    return explain(opened, texts, asked, name=name, rows=numbers, progress=OnConsole())


def _texts(
    what: list[str], column: str | None, count: int | None, *, words: bool, images: bool
) -> tuple[list[str], Examples | None]:
    """The texts to be explained, and the file that they are the first rows of.

    Raises:
        DataError: a file is given among texts, or something that only a file has is asked of texts.
    """
    from headstart.errors import DataError
    from headstart.predicting import means_file

    files = [one for one in what if means_file(one)]
    pictures = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
    if files and images and all(Path(one).suffix.lower() in pictures for one in what):
        return what, None
    if files and len(what) > 1:
        raise DataError(
            f"{files[0]}: is a file among {len(what)} arguments. Give it alone, or give texts only."
        )
    if files:
        rows = _rows(files[0], column, None, labels=False)
        count = (0 if words else 5) if count is None else count
        return list(rows.texts[:count]), rows
    if words:
        raise DataError("--words: needs a FILE of texts, such as reviews.csv, and got texts.")
    return what, None


def _rows(file: str, text: str | None, label: str | None, *, labels: bool) -> Examples:
    from headstart.explain.asking import rows_of

    return rows_of(file, file, text=text, label=label, labels=labels)


def _leave(values: ExplanationValues, html: Path | None, json: bool) -> None:
    """Print an explanation, and write its page."""
    from rich.console import Console

    from headstart.explain.result import Explanation
    from headstart.explain.terminal import show

    if html is not None:
        Explanation(values).write_html(html)
    if json:
        print(Explanation(values).to_json(), end="")
        return
    show(values, Console())
    if html is not None:
        print(f"\n{html}: the same as a page, for a browser")
