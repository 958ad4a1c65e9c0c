"""What pydantic finds wrong with a recipe, in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from headstart.errors import unknown_name
from headstart.recipe.objectives import OBJECTIVES
from headstart.recipe.tasks import TASKS
from headstart.recipe.train import ADAPTER_KINDS, Bottleneck, Lora, Prefix
from headstart.recipe.values import Values


def _path(location: tuple[int | str, ...]) -> str:
    """("stage", 1, "train") as "stage[1].train"."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _known_keys(location: tuple[int | str, ...], owners: Mapping[str, type[Values]]) -> list[str]:
    """What may stand where something unknown stood."""
    owner = owners.get(str(location[0]) if location else "", owners[""])
    kinds: dict[str, type[Values]] = {
        "[lora]": Lora, "[prefix]": Prefix, "[adapter]": Bottleneck}  # fmt: skip
    for before, here in pairwise(location):
        owner = OBJECTIVES.get(str(here), owner) if before == "objective" else owner
        owner = kinds.get(str(here), owner)
        owner = (
            TASKS.get(str(here), owner) if before == "task" or isinstance(before, int) else owner
        )
    return list(owner.model_fields)


INSIDE = (*TASKS, "several", "tasks")
"""Members of unions, and keys that a recipe does not spell out, behind the key `task`."""


def field_faults(error: ValidationError, owners: Mapping[str, type[Values]]) -> Iterator[str]:
    """Word what pydantic found, one fault for each key.

    Args:
        error: of validating a recipe.
        owners: what holds the keys below each key of the top level; "" for the top level itself.
    """
    faults: dict[tuple[int | str, ...], Any] = {}
    for item in error.errors():
        # A union reports once for each member; its tags are not part of the user's path.
        location = _without_tags(item["loc"])
        faults.setdefault(location, item)
    for location, item in faults.items():
        # A fault deeper down is the cause of the one above it.
        deeper = (other[: len(location)] == location != other for other in faults)
        if not any(deeper):
            yield _word(item, location, owners)


def _without_tags(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where something stands, without the members of unions that pydantic tried."""
    path: list[int | str] = []
    for place, part in enumerate(location):
        tag = isinstance(part, str) and (
            part in ("str", "Stage") or "[" in part or part.startswith("constrained-")
        )
        task = part in INSIDE and "task" in location[max(0, place - 2) : place]
        task = task or (part == "task" and "several" in location[:place])
        objective = part in OBJECTIVES and "objective" in location[max(0, place - 1) : place]
        if not (tag or task or objective):
            path.append(part)
    return tuple(path)


def _word(item: Any, location: tuple[int | str, ...], owners: Mapping[str, type[Values]]) -> str:
    where, kind, found = _path(location), item["type"], item["input"]
    if kind == "extra_forbidden":
        return unknown_name(_path(location[:-1]) or "top level", "key", str(location[-1]),
                            _known_keys(item["loc"][:-1], owners))  # fmt: skip
    if kind == "missing":
        return f"{where}: is missing. It must be given."
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", item["ctx"]["expected"])
        return unknown_name(where, "choice", str(found), allowed)
    if kind == "union_tag_invalid":
        noun, known = ("task", list(TASKS)) if "task" in location else ("adapter", ADAPTER_KINDS)
        noun, known = ("objective", list(OBJECTIVES)) if "objective" in location else (noun, known)
        return unknown_name(f"{where}.kind", noun, str(found["kind"]), known)
    if kind == "union_tag_not_found":
        return f"{where}: must be a word, a table of patterns or one with a kind; got {found!r}."
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"{where}: {message}; got {found!r}."
