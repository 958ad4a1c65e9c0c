"""headstart from Python: transfer, run, load.

Heavy imports are inside the functions, so that `import headstart` stays light.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.answering import Model
from headstart.recipe import DEFAULT_BACKBONE, Recipe

if TYPE_CHECKING:
    from headstart.report.compare import RunComparison
    from headstart.speaking import Generator
    from headstart.training.progress import Progress
    from headstart.training.stage import Workshop
    from headstart.verdict.compare import Comparison
    from headstart.verdict.judge import Verdict
    from headstart.verdict.meta import Meta
    from headstart.verdict.running import Pretraining
    from headstart.verdict.together import Together

Columns = str | Mapping[str, str] | None
"""A column name for all data sets, or one for each: {"source": "review", "target": "text"}."""


def load(folder: str | Path) -> Model:
    """Open the model/ folder that a run left, that folder's parent, or an adapter with its base.

    Raises:
        CheckpointError: there is no such model, or a file in it is damaged.
    """
    from headstart.errors import CheckpointError
    from headstart.training.model import DESCRIPTION, open_trained
    from headstart.training.serving import is_adapter, open_through_adapter
    from headstart.training.shared import is_shared, open_shared

    folder = Path(folder)
    inner = folder / "model"
    if (folder / ".headstart").exists() and not inner.exists():
        raise CheckpointError(
            f"{folder}: the run in this folder has not finished, so it holds no model yet. Give "
            "its command again: it goes on where it stopped."
        )
    if is_adapter(folder):
        return Model(*open_through_adapter(folder))
    place = inner if (inner / DESCRIPTION).exists() else folder
    if is_shared(place):
        return Model(tasks=open_shared(place))
    return Model(open_trained(place))


def load_generator(name: str | Path) -> Generator:
    """Open a language model, so that its `generate` writes on.

    Args:
        name: a folder, or a name on the Hugging Face hub: a decoder (GPT-2, Llama, Qwen, ...) or an
            encoder with a decoder (T5, BART, Marian).

    Raises:
        CheckpointError: there is no such model, a file of it is damaged, it is an encoder alone,
            which cannot write, or its generation_config.json asks for what is not supported.
    """
    from headstart.speaking import open_generator

    return open_generator(name)


def adapt(
    model: str | Path,
    support: Any,
    *,
    text: str | None = None,
    label: str | None = None,
    label_map: Mapping[str, str] | None = None,
    steps: int | None = None,
    out: str | Path | None = None,
) -> Model:
    """Make a classifier for new classes from a few labelled rows, by a model of episodes.

    Args:
        model: the output folder of a run whose last stage learned from episodes, or its model/.
        support: one or more rows of each class, as `transfer` takes data.
        text: name of the text column; guessed when unambiguous.
        label: name of the label column, likewise.
        label_map: renames labels; rows with other labels are left out.
        steps: of gradient descent. Default: as many as the model was measured with.
        out: where the classifier is written as well: a new folder, or one of a run.

    Raises:
        UserError: the model did not learn from episodes, or the rows do not fit it.
    """
    from headstart.data.atomic import folder_atomically
    from headstart.data.pairs import read_examples
    from headstart.data.table import read
    from headstart.training.episodic import open_episodic
    from headstart.training.model import DESCRIPTION, save_trained

    inner = Path(model) / "model"
    learned = open_episodic(inner if (inner / DESCRIPTION).exists() else model)
    table = read(support, name="support")
    rows = read_examples(table, text=text, label=label, mapping=label_map)
    trained = learned.adapt(rows, steps)
    with _held(out) as folder:
        if folder is not None:
            with folder_atomically(folder / "model") as fresh:
                save_trained(trained, fresh, rows.texts)
    return Model(trained)


def transfer(
    source: Any,
    target: Any,
    *,
    test: Any = None,
    unlabelled: Any = None,
    text: Columns = None,
    label: Columns = None,
    source_map: Mapping[str, str] | None = None,
    target_map: Mapping[str, str] | None = None,
    backbone: str = DEFAULT_BACKBONE,
    pooling: str = "auto",
    max_length: int | None = None,
    arms: str | Sequence[str] | None = None,
    labels: int | None = None,
    seeds: int | None = None,
    folds: int | None = None,
    budget: str | float | None = None,
    curve: str | None = None,
    out: str | Path | None = None,
    profile: bool = False,
    track: str | None = None,
    command: str | None = None,
    progress: Progress | bool = True,
) -> Verdict:
    """Carry what a Transformer learns on the source to the target, and say what it was worth.

    Args:
        source: many labelled rows: a path, a pandas frame, a list of (text, label), a Hugging Face
            dataset, or anything else that `headstart.data.table.read` takes. Several sources, each
            compared alone and all together: a list of paths, or of frames.
        target: the labelled rows at hand, likewise.
        test: labelled rows to judge by. Default: see `folds`.
        unlabelled: more texts like the target's, for the ways that begin with "adapt".
        text: name of the text column, or one for each data set; guessed when unambiguous.
        label: name of the label column, likewise.
        source_map: renames the source's labels; rows with other labels are left out.
        target_map: renames the target's and the test's labels.
        backbone: a folder, a hub name, or the model of an installed package.
        pooling: "auto", "cls", "mean", "last" or "family".
        max_length: longest text in tokens. Default: the checkpoint's.
        arms: which ways to compare: `headstart.verdict.arms.TITLES` lists them. Default: the
            baselines, the target alone, the source alone, and the source and then the target.
        labels: how many target labels to train on. Default: all.
        seeds: repeats of what is trained on the target. Default: 1; with folds over at most 64
            rows 3.
        folds: without test rows: parts of the target that judge in turn, each by models trained on
            the others; 0 holds out a fifth instead. Default: 3 or 5 folds below 2,000 rows where
            all labels are trained on, else 0.
        budget: time that the search may take, as "90s", "10m", "2h" or seconds: cheap ways first,
            then up to 5 seeds (or `seeds`) of those that are still in the race.
        curve: "frozen" draws accuracy against the number of labels, with the source and without,
            on frozen vectors; "full" trains every point in full.
        out: output folder. Default: nothing is written outside the cache.
        profile: tell where the time went, and leave profile.txt and trace.json in `out`.
        track: pass the log of every stage on, under `out`/track: "tensorboard", "mlflow" or "csv".
        command: how this run was asked for, as the report shows it.
        progress: whether to show progress on standard error, or where it goes.

    Raises:
        UserError: with every fault that was found in what was asked.
    """
    from headstart.training.stage import Workshop
    from headstart.training.tracking import check_track, tracker
    from headstart.verdict.arms import adapt_stage, build_arms
    from headstart.verdict.budget import Budget, parse_duration
    from headstart.verdict.compare import compare_arms
    from headstart.verdict.curve import check_curve
    from headstart.verdict.plan import Asked, num_seeds, plan
    from headstart.verdict.rows import check_classes, describe, read_rows

    check_track(track, out)
    limit = None if budget is None else Budget(parse_duration(budget))
    asked = Asked(arms, labels, seeds, folds, tests=test is not None,
                  unlabelled=unlabelled is not None,
                  budget=None if limit is None else limit.seconds,
                  curve=check_curve(curve))  # fmt: skip
    others = {"target": target, "test": test, "unlabelled": unlabelled}
    given, planned = plan(asked, source, others)
    maps = dict.fromkeys(others, target_map)
    values = {
        "backbone": backbone,
        "pooling": pooling,
        "max_length": max_length,
        "data": {
            name: _data(name, rows, text, label, maps.get(name, source_map), labels)
            for name, rows in given.items()
        },
        "stage": [stage.model_dump() for stage in planned.stages],
        "test": "target" if test is None else "test",
    }
    common = Recipe.from_values(values, "transfer")
    shop = Workshop(_progress(progress))
    with _held(out) as folder, _profiled(profile, folder, shop.progress):
        shop.track = tracker(track, folder)
        shop.checkpoint(common.backbone)  # a wrong name is told before any data is read
        rows = read_rows(common, given, folds=folds)
        check_classes(rows, source_answers=bool(planned.answering), sources=planned.answering)
        available = len(rows.drawn(common)["target"])
        for line in describe(rows, available):
            shop.progress.say(line)
        repeats = num_seeds(asked, rows)
        adapt = adapt_stage(rows.num_texts, asked.unlabelled)
        built = build_arms(planned.names, common, labels=available, label_limit=labels,
                           seeds=repeats, adapt=adapt)  # fmt: skip
        comparison = compare_arms(built, rows, shop, limit, check_curve(curve))
        return _leave(comparison, folder, command or _python_call("transfer", backbone=backbone))


def run(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    data: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    profile: bool = False,
    track: str | None = None,
    command: str | None = None,
    progress: Progress | bool = True,
) -> Verdict | Pretraining | Together | Meta:
    """Train the stages of a recipe and judge the model after each.

    A recipe whose last stage reads no labels leaves a backbone instead, and tells what texts that
    it was not trained on cost before and after. One whose last stage is of several tasks, or gives
    numbers, tells what each task reaches alone and together. One whose last stage learns from
    episodes tells what a few rows of classes that it has not seen make of the model.

    Args:
        recipe: a recipe, its values, or the path of its TOML file.
        data: data in memory, by the recipe's names; the others are read from their paths.
        out: output folder. Default: nothing is written outside the cache.
        profile: tell where the time went, and leave profile.txt and trace.json in `out`.
        track: pass the log of every stage on, under `out`/track: "tensorboard", "mlflow" or "csv".
        command: how this run was asked for, as the report shows it.
        progress: whether to show progress on standard error, or where it goes.

    Raises:
        UserError: with every fault that was found in what was asked.
    """
    from headstart.training.making import made
    from headstart.training.stage import Workshop
    from headstart.training.tracking import check_track, tracker
    from headstart.verdict.compare import run_recipe
    from headstart.verdict.left import leave
    from headstart.verdict.meta import ends_in_episodes, run_meta
    from headstart.verdict.rows import describe, read_rows
    from headstart.verdict.running import as_written, check_start, ends_unlabelled
    from headstart.verdict.task_rows import ends_in_tasks

    check_track(track, out)
    if isinstance(recipe, Mapping):
        recipe = Recipe.from_values(recipe)
    elif not isinstance(recipe, Recipe):
        recipe = Recipe.from_toml(recipe)
    shop = Workshop(_progress(progress))
    with _held(out) as folder, _profiled(profile, folder, shop.progress):
        shop.track = tracker(track, folder)
        check_start(recipe, shop)
        if ends_unlabelled(recipe):
            return _pretrain(recipe, data, shop, folder, command or _python_call("run"))
        if ends_in_episodes(recipe):
            meta = run_meta(recipe, data, shop)
            said = command or "headstart.run"
            return meta if folder is None else leave(meta, folder, said, meta.results)
        if ends_in_tasks(recipe):
            return _together(recipe, data, shop, folder, command or _python_call("run"))
        rows = read_rows(recipe, data)
        for line in describe(rows):
            shop.progress.say(line)
        comparison = run_recipe(made(recipe, rows.train, shop), rows, shop)
        written = as_written(comparison, recipe)
        return _leave(written, folder, command or _python_call("run"))


def write_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Make the page of a run anew, from what its verdict.json holds.

    Args:
        run: its output folder, or a json file that headstart printed.
        out: where the page is written. Default: report.html beside verdict.json, or beside the
            json file under its name.

    Returns:
        Where it was written.

    Raises:
        DataError: there is no such run, or it is damaged.
        UserError: its schema is not known, or the place cannot be written.
    """
    from headstart.report.html import write_report as write
    from headstart.report.opening import FILE, open_run

    opened = open_run(run)
    own = "report.html" if Path(run).is_dir() or Path(run).name == FILE else f"{opened.name}.html"
    place = opened.folder / own if out is None else Path(out)
    write(opened.values, place)
    return place


def compare_runs(runs: Sequence[str | Path]) -> RunComparison:
    """Lay runs side by side: printed, the terminal's table; `write_html` writes a page.

    Args:
        runs: output folders of two or more comparisons.

    Raises:
        RecipeError: there are fewer than two.
        DataError: a place holds no run, or one that ended without arms.
    """
    from headstart.report.compare import compare_runs as compare

    return compare(runs)


def _pretrain(
    recipe: Recipe,
    data: Mapping[str, Any] | None,
    shop: Workshop,
    folder: Path | None,
    command: str,
) -> Pretraining:
    """Train a recipe that ends without labels, and write what it leaves behind."""
    from dataclasses import replace

    from headstart.verdict.left import leave
    from headstart.verdict.running import pretrain, read_texts

    result = pretrain(recipe, read_texts(recipe, data), shop)
    if folder is None:
        return replace(result, values=result.values | {"command": command})
    return leave(result, folder, command, result.judged)


def _together(
    recipe: Recipe,
    data: Mapping[str, Any] | None,
    shop: Workshop,
    folder: Path | None,
    command: str,
) -> Together:
    """Train a recipe that ends in several tasks, and write what it leaves behind."""
    from headstart.verdict.left import leave
    from headstart.verdict.task_rows import read_task_rows
    from headstart.verdict.together import run_together

    result = run_together(recipe, read_task_rows(recipe, data), shop)
    return result if folder is None else leave(result, folder, command, result.tasks)


def _data(
    name: str, source: Any, text: Columns, label: Columns, mapping: Any, labels: int | None
) -> dict[str, Any]:
    path = str(source) if isinstance(source, (str, Path)) else f"<{type(source).__name__}>"
    values: dict[str, Any] = {"path": path, "text": _column(text, name)}
    values |= {
        "label": _column(label, name),
        "map": {str(old): str(new) for old, new in (mapping or {}).items()},
    }
    return values | ({"labels": labels} if name == "target" and labels is not None else {})


def _column(columns: Columns, name: str) -> str | None:
    """The column of one data set; test rows have the target's columns, sources the source's."""
    from headstart.verdict.arms import RESERVED

    if columns is None or isinstance(columns, str):
        return columns
    kind = "target" if name in RESERVED else "source"
    return columns.get(name, columns.get(kind))


def _python_call(function: str, **arguments: str) -> str:
    shown = "".join(f", {key}={value!r}" for key, value in arguments.items())
    return f"headstart.{function}(...{shown})"


def _progress(progress: Progress | bool) -> Progress:
    from headstart.training.progress import OnConsole, Silent

    if isinstance(progress, bool):
        return OnConsole() if progress else Silent()
    return progress


@contextmanager
def _held(out: str | Path | None) -> Iterator[Path | None]:
    """Hold the output folder for the whole run; without one there is nothing to hold."""
    from headstart.verdict.output import output_folder

    if out is None:
        yield None
        return
    with output_folder(Path(out)) as folder:
        yield folder


@contextmanager
def _profiled(asked: bool, folder: Path | None, progress: Progress) -> Iterator[None]:
    """Count where the time goes, where somebody asked."""
    from headstart.errors import RecipeError
    from headstart.training.profiling import profiled

    if asked and folder is None:
        raise RecipeError("profile: needs a folder for what it writes. Give out as well.")
    with profiled(folder if asked else None) as lines:
        yield
    for line in lines:
        progress.say(line)


def _leave(comparison: Comparison, folder: Path | None, command: str) -> Verdict:
    """Write what a run leaves behind: the verdict last, when all it speaks of is there."""
    from headstart.data.atomic import write_atomically
    from headstart.report.html import write_report
    from headstart.verdict.judge import Verdict
    from headstart.verdict.output import link_folder

    more = {"command": command, "explained": None if folder is None else _explained(comparison)}
    verdict = Verdict(comparison.values | more, folder)
    if folder is None:
        return verdict
    for stage in comparison.stages:
        link_folder(stage.folder, folder / "stages" / stage.digest)
    _keep_model(comparison, verdict, folder / "model")
    with write_atomically(folder / "recipe.toml") as file:
        file.write(f"# {command}\n{comparison.recipe.to_toml()}".encode())
    write_report(verdict.values, folder / "report.html")
    with write_atomically(folder / "verdict.json") as file:
        file.write(verdict.to_json().encode())
    return verdict


def _explained(comparison: Comparison) -> dict[str, Any] | None:
    """The words of a few mistakes, marked. With folds the models that made them are gone."""
    from headstart.explain.marked import marked
    from headstart.training.model import open_trained

    mistakes = comparison.values["mistakes"]
    if comparison.values["protocol"]["folds"] or not mistakes:
        return None
    texts, classes = ([one[key] for one in mistakes] for key in ("text", "predicted"))
    return marked(open_trained(comparison.winner.folder), texts, classes)


def _keep_model(comparison: Comparison, verdict: Verdict, place: Path) -> None:
    """Save the winner with what it reached, and prove the copy."""
    from headstart.data.atomic import folder_atomically
    from headstart.training.model import open_trained, save_trained
    from headstart.verdict.sureness import temperature_in

    model = open_trained(comparison.winner.folder)
    model.provenance |= {"verdict": verdict.arm(verdict.winner), "sentence": verdict.sentence}
    model.temperature = temperature_in(verdict.values)
    texts = [mistake["text"] for mistake in verdict.values["mistakes"]] or ["a", "b c"]
    with folder_atomically(place) as fresh:
        save_trained(model, fresh, texts)


def command_line(arguments: Sequence[str]) -> str:
    """A command as one would type it again."""
    return "headstart " + shlex.join(arguments)
