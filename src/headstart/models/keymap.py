"""Names of parameters, theirs to ours and back, as a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PLACE = "{i}"


@dataclass(frozen=True)
class Match:
    """What a table makes of a checkpoint's names.

    Attributes:
        ours: their name by our name.
        dropped: names left out on purpose.
        unknown: names that the table does not hold.
        doubled: names that mean what another name already means.
    """

    ours: dict[str, str]
    dropped: tuple[str, ...]
    unknown: tuple[str, ...]
    doubled: tuple[str, ...]


@dataclass(frozen=True)
class KeyMap:
    """A reversible table of module names.

    Attributes:
        rename: their module to our module; `{i}` stands for a block's number.
        strip: prefixes that a checkpoint may carry.
        legacy: old endings to new ones, read and never written.
        drop: patterns of full names (prefix taken off) to leave out.
    """

    rename: Mapping[str, str]
    strip: tuple[str, ...] = ()
    legacy: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that no two modules share a name on either side."""
        assert len(set(self.rename.values())) == len(self.rename), "the table is not reversible"

    def match(self, names: Iterable[str]) -> Match:
        """Sort a checkpoint's names into ours, dropped, unknown and doubled."""
        ours: dict[str, str] = {}
        dropped, unknown, doubled = [], [], []
        for name in sorted(names):
            plain = self._plain(name)
            renamed = _translate(plain, self.rename)
            if any(re.fullmatch(pattern, plain) for pattern in self.drop):
                dropped.append(name)
            elif renamed is None:
                unknown.append(name)
            elif renamed in ours:
                doubled.append(name)
            else:
                ours[renamed] = name
        return Match(ours, tuple(dropped), tuple(unknown), tuple(doubled))

    def to_theirs(self, name: str, prefix: str = "") -> str:
        """Their name of one of our parameters.

        Args:
            name: one of ours.
            prefix: put before names, such as "bert."; one of `strip`, or "".
        """
        theirs = _translate(name, {ours: theirs for theirs, ours in self.rename.items()})
        assert theirs is not None, f"the table holds no {name}"
        return prefix + theirs

    def _plain(self, name: str) -> str:
        """The name without its prefix and with today's ending."""
        for prefix in self.strip:
            name = name.removeprefix(prefix)
        for old, new in self.legacy.items():
            if name.endswith(old):
                name = name.removesuffix(old) + new
        return name


def _translate(name: str, table: Mapping[str, str]) -> str | None:
    """Look a parameter's module up: {i} in a key matches a number, and carries it over."""
    module, _, last = name.rpartition(".")
    number = re.search(r"(?<=\.)\d+(?=\.)", module)
    found = table.get(module)
    if found is None and number is not None:
        place = module[: number.start()] + PLACE + module[number.end() :]
        found = table.get(place)
        found = None if found is None else found.replace(PLACE, number.group())
    return None if found is None else f"{found}.{last}"
