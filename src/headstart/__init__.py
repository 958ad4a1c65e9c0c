"""headstart: transfer learning with Transformers, with a verdict on what it was worth.

Everything public is here; what is heavy is imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.answering import Model
    from headstart.api import (
        adapt,
        compare_runs,
        load,
        load_generator,
        run,
        transfer,
        write_report,
    )
    from headstart.doctor.checkup import Checkup, check
    from headstart.errors import (
        CheckpointError,
        DataError,
        HeadstartError,
        InterruptedRunError,
        RecipeError,
        TrainingError,
        UserError,
    )
    from headstart.estimator import Classifier
    from headstart.predicting import next_labels
    from headstart.recipe import Data, Recipe, Stage, Task
    from headstart.report.compare import RunComparison
    from headstart.speaking import Generator
    from headstart.verdict.judge import Verdict
    from headstart.verdict.next_labels import NextLabel
    from headstart.verdict.ranking import Ranking, rank

_HOMES = {
    "CheckpointError": "errors",
    "Checkup": "doctor.checkup",
    "Classifier": "estimator",
    "Data": "recipe",
    "DataError": "errors",
    "Generator": "speaking",
    "HeadstartError": "errors",
    "InterruptedRunError": "errors",
    "Model": "answering",
    "NextLabel": "verdict.next_labels",
    "Ranking": "verdict.ranking",
    "Recipe": "recipe",
    "RecipeError": "errors",
    "RunComparison": "report.compare",
    "Stage": "recipe",
    "Task": "recipe",
    "TrainingError": "errors",
    "UserError": "errors",
    "Verdict": "verdict.judge",
    "adapt": "api",
    "check": "doctor.checkup",
    "compare_runs": "api",
    "load": "api",
    "load_generator": "api",
    "next_labels": "predicting",
    "rank": "verdict.ranking",
    "run": "api",
    "transfer": "api",
    "write_report": "api",
}

__all__ = [
    "CheckpointError",
    "Checkup",
    "Classifier",
    "Data",
    "DataError",
    "Generator",
    "HeadstartError",
    "InterruptedRunError",
    "Model",
    "NextLabel",
    "Ranking",
    "Recipe",
    "RecipeError",
    "RunComparison",
    "Stage",
    "Task",
    "TrainingError",
    "UserError",
    "Verdict",
    "adapt",
    "check",
    "compare_runs",
    "load",
    "load_generator",
    "next_labels",
    "rank",
    "run",
    "transfer",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headstart' has no attribute {name!r}")
    return getattr(import_module(f"headstart.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
