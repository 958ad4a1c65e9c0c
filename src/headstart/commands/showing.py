"""How a verdict is printed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headstart.verdict.judge import Verdict
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
    print()
    for name, what in (("report.html", "the whole story, for a browser"),
                       ("verdict.json", "the same, for machines"),
                       ("recipe.toml", "the winner, to run again or change"),
                       ("model/", "the winner, trained")):  # fmt: skip
        place = f"{shown(verdict.folder / name)}{'/' if name.endswith('/') else ''}"
        print(f"  {place:<32}  {what}")
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

    print(pretraining_table(result.values))
    assert result.folder is not None, "every command has an output folder"
    print()
    for name, what in (("model/", "the backbone, a checkpoint to begin with"),
                       ("verdict.json", "these figures, for machines"),
                       ("recipe.toml", "to run again or change")):  # fmt: skip
        place = f"{shown(result.folder / name)}{'/' if name.endswith('/') else ''}"
        print(f"  {place:<32}  {what}")
    model = shlex.quote(shown(result.folder / "model"))
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

    print(tasks_table(result.values))
    assert result.folder is not None, "every command has an output folder"
    print()
    for name, what in (("model/", "answers for every task"),
                       ("verdict.json", "these figures, for machines"),
                       ("recipe.toml", "to run again or change")):  # fmt: skip
        place = f"{shown(result.folder / name)}{'/' if name.endswith('/') else ''}"
        print(f"  {place:<32}  {what}")
    folder, tasks = shlex.quote(shown(result.folder)), result.tasks
    named = f" --task {tasks[0]['name']}" if len(tasks) > 1 else ""
    print(f'\nNext:\n  headstart predict {folder}{named} "a text of yours"')


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

    print(meta_table(result.values))
    assert result.folder is not None, "every command has an output folder"
    print()
    for name, what in (("model/", "adapts to new classes; a backbone to begin with"),
                       ("verdict.json", "these figures, for machines"),
                       ("recipe.toml", "to run again or change")):  # fmt: skip
        place = f"{shown(result.folder / name)}{'/' if name.endswith('/') else ''}"
        print(f"  {place:<32}  {what}")
    folder = shlex.quote(shown(result.folder))
    print(f"\nNext:\n  headstart adapt {folder} --support few.csv --out runs/adapted")


def shown(path: Path) -> str:
    """A path as short as it can be from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
