"""How a verdict is printed."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.verdict.judge import Verdict
    from headstart.verdict.left import Left
    from headstart.verdict.meta import Meta
    from headstart.verdict.running import Pretraining
    from headstart.verdict.together import Together


def show(verdict: Verdict, json: bool, then: str | None = None) -> None:
    """Print a verdict: its JSON, or the table, what it rests on, where things are, what to try.

    Args:
        verdict: with its folder.
        json: whether to print verdict.json instead.
        then: what to try next.
    """
    if json:
        print(verdict.to_json(), end="")
        return
    from headstart.report.text import footnotes, verdict_table

    print(verdict_table(verdict.values))
    print()
    print(footnotes(verdict.values))
    assert verdict.folder is not None, "every command has an output folder"
    _print_places(verdict.folder, (("report.html", "the whole story, for a browser"),
                                   ("verdict.json", "the same, for machines"),
                                   ("recipe.toml", "the winner, to run again or change"),
                                   ("model/", "the winner, trained")))  # fmt: skip
    folder = shown(verdict.folder)
    print(then or f'\nNext:\n  headstart predict {shlex.quote(folder)} "a text of yours"')


def show_pretraining(result: Pretraining, json: bool) -> None:
    """Print what a recipe that ends without labels left: its JSON, or a line for each stage.

    Args:
        result: with its folder.
        json: whether to print verdict.json instead.
    """
    if json:
        print(result.to_json(), end="")
        return
    from headstart.report.pretraining import pretraining_table

    folder = _shown_left(result, pretraining_table, "the backbone, a checkpoint to begin with")
    model = shlex.quote(shown(folder / "model"))
    then = (
        f'headstart generate {model} "a text to go on with"'
        if result.judged and result.judged[-1]["task"] == "causal-lm"
        else f"headstart transfer --backbone {model} --source ... --target ..."
    )
    print(f"\nNext:\n  {then}")


def show_together(result: Together, json: bool) -> None:
    """Print what a recipe that ends in several tasks left: its JSON, or each task's figures.

    Args:
        result: with its folder.
        json: whether to print verdict.json instead.
    """
    if json:
        print(result.to_json(), end="")
        return
    from headstart.report.tasks import tasks_table

    folder, tasks = _shown_left(result, tasks_table, "answers for every task"), result.tasks
    named = f" --task {tasks[0]['name']}" if len(tasks) > 1 else ""
    print(f'\nNext:\n  headstart predict {shlex.quote(shown(folder))}{named} "a text of yours"')


def show_meta(result: Meta, json: bool) -> None:
    """Print what a recipe that ends in learning from episodes reached: its JSON, or the table.

    Args:
        result: with its folder.
        json: whether to print verdict.json instead.
    """
    if json:
        print(result.to_json(), end="")
        return
    from headstart.report.meta import meta_table

    folder = _shown_left(result, meta_table, "adapts to new classes; a backbone to begin with")
    place = shlex.quote(shown(folder))
    print(f"\nNext:\n  headstart adapt {place} --support few.csv --out runs/adapted")


def _shown_left(result: Left, table: Callable[[dict[str, Any]], str], model: str) -> Path:
    """Print the table of what was left, and where things are. Returns the output folder."""
    print(table(result.values))
    assert result.folder is not None, "every command has an output folder"
    _print_places(result.folder, (("model/", model),
                                  ("verdict.json", "these figures, for machines"),
                                  ("recipe.toml", "to run again or change")))  # fmt: skip
    return result.folder


def _print_places(folder: Path, places: tuple[tuple[str, str], ...]) -> None:
    """Print a line for each thing in an output folder: where it is, and what."""
    print()
    for name, what in places:
        place = f"{shown(folder / name)}{'/' if name.endswith('/') else ''}"
        print(f"  {place:<32}  {what}")


def shown(path: Path) -> str:
    """A path as short as it can be from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
