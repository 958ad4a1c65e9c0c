"""Values of options that hold several: columns and labels by name."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.errors import RecipeError, unknown_name

DATA_SETS = ("source", "target", "test")


def columns(
    option: str, value: str | None, known: Sequence[str] | None = DATA_SETS
) -> str | dict[str, str] | None:
    """COL for every data set, or source=COL,target=COL.

    Args:
        option: named in errors.
        value: what was given for it.
        known: names of data sets; None leaves the check to whoever takes the columns.

    Raises:
        RecipeError: a data set is not known, or a pair is none.
    """
    if value is None or "=" not in value:
        return value
    found = pairs(option, value, "source=review,target=body") or {}
    names = found if known is None else known
    faults = [unknown_name(option, "data set", name, names) for name in found if name not in names]
    if faults:
        raise RecipeError(faults)
    return found


def pairs(
    option: str, value: str | None, example: str = "1=negative,5=positive"
) -> dict[str, str] | None:
    """ "1=negative,5=positive" as a mapping.

    Raises:
        RecipeError: with each pair that is none, or is given twice.
    """
    if value is None:
        return None
    found: dict[str, str] = {}
    faults = []
    for item in value.split(","):
        old, sign, new = (part.strip() for part in item.partition("="))
        if not sign or not old or not new:
            faults.append(f"{option}: {item!r} is no OLD=NEW. Write, for example, {example}.")
        elif found.setdefault(old, new) != new:
            faults.append(f"{option}: {old!r} is given twice, as {found[old]!r} and as {new!r}.")
    if faults:
        raise RecipeError(faults)
    return found
