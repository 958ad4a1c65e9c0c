"""Names of parameters, theirs to ours and back, as a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

PLACE = "{i}"


@dataclass(frozen=True)
class Match:
    """What a table makes of a checkpoint's names.

    Attributes:
        ours: their name by our name; several of ours may share one of theirs.
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
        rename: their module, or parameter, to ours; `{i}` stands for a block's number.
        split: their module to those of ours that share the rows of its tensors, in equal parts.
        transpose: their modules whose weight is stored as (in, out).
        also: their modules by other names, one for one of ours; read and never written.
        strip: prefixes that a checkpoint may carry.
        legacy: old endings to new ones, read and never written.
        drop: patterns of full names (prefix taken off) to leave out.
    """

    rename: Mapping[str, str]
    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    transpose: tuple[str, ...] = ()
    also: Mapping[str, str] = field(default_factory=dict)
    strip: tuple[str, ...] = ()
    legacy: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that no two modules share a name on either side."""
        ours = [*self.rename.values(), *(name for names in self.split.values() for name in names)]
        assert len(set(ours)) == len(ours), "the table is not reversible"
        assert not self.rename.keys() & self.split.keys(), "a module is renamed or split, not both"

    def match(self, names: Iterable[str]) -> Match:
        """Sort a checkpoint's names into ours, dropped, unknown and doubled."""
        ours: dict[str, str] = {}
        dropped, unknown, doubled = [], [], []
        for name in sorted(names):
            plain = self.plain(name)
            renamed = self._to_ours(plain)
            if any(re.fullmatch(pattern, plain) for pattern in self.drop):
                dropped.append(name)
            elif not renamed:
                unknown.append(name)
            elif ours.keys() & set(renamed):
                doubled.append(name)
            else:
                ours |= dict.fromkeys(renamed, name)
        return Match(ours, tuple(dropped), tuple(unknown), tuple(doubled))

    def read(self, match: Match, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors out of theirs, transposed and split where the table says so.

        A tensor that cannot be split comes whole, so that its shape is told with all other faults.
        """
        return {
            ours: tensors[theirs]
            if _translate(self.plain(theirs), self.also) is not None
            else self._part(ours, tensors[theirs])
            for ours, theirs in match.ours.items()
        }

    def write(
        self, tensors: Mapping[str, Tensor], prefix: Callable[[str], str]
    ) -> dict[str, Tensor]:
        """Their tensors out of ours: the inverse of `read`.

        Args:
            tensors: by our names, all parts of what is split.
            prefix: what to put before the name of one of ours, see `to_theirs`.
        """
        parts: dict[str, dict[int, Tensor]] = {}
        stored: dict[str, bool] = {}
        for name, tensor in tensors.items():
            theirs = self.to_theirs(name, prefix(name))
            index, _ = self._share(name)
            parts.setdefault(theirs, {})[index] = tensor
            stored[theirs] = self._is_transposed(name)
        joined = {name: torch.cat([p[i] for i in sorted(p)]) if len(p) > 1 else p[0]
                  for name, p in parts.items()}  # fmt: skip
        return {name: t.T if stored[name] else t for name, t in joined.items()}

    def to_theirs(self, name: str, prefix: str = "") -> str:
        """Their name of one of our parameters, or of what holds it.

        Args:
            name: one of ours.
            prefix: put before names, such as "bert."; one of `strip`, or "".
        """
        theirs = _translate(name, self._theirs)
        assert theirs is not None, f"the table holds no {name}"
        return prefix + theirs

    def plain(self, name: str) -> str:
        """Their name without its prefix and with today's ending."""
        for prefix in self.strip:
            name = name.removeprefix(prefix)
        for old, new in self.legacy.items():
            if name.endswith(old):
                name = name.removesuffix(old) + new
        return name

    @cached_property
    def _theirs(self) -> dict[str, str]:
        """Their module by our module."""
        renamed = {ours: theirs for theirs, ours in self.rename.items()}
        return renamed | {ours: theirs for theirs, names in self.split.items() for ours in names}

    @cached_property
    def _shares(self) -> dict[str, str]:
        """By our module: its index among those that share a module of theirs, and their count."""
        return {
            ours: f"{index}/{len(names)}"
            for names in self.split.values()
            for index, ours in enumerate(names)
        }

    def _to_ours(self, plain: str) -> list[str]:
        """Our names of one of theirs; none where the table does not hold it."""
        renamed = _translate(plain, self.rename) or _translate(plain, self.also)
        if renamed is not None:
            return [renamed]
        count = max((len(names) for names in self.split.values()), default=0)
        tables = ({k: names[i] for k, names in self.split.items() if i < len(names)}
                  for i in range(count))  # fmt: skip
        return [name for table in tables if (name := _translate(plain, table)) is not None]

    def _share(self, ours: str) -> tuple[int, int]:
        """Which part of their tensor is ours, and of how many."""
        share = _translate(ours, self._shares)
        if share is None:
            return 0, 1
        index, _, count = share.split(".")[0].partition("/")
        return int(index), int(count)

    def _is_transposed(self, ours: str) -> bool:
        table = dict.fromkeys(self.transpose, "")
        theirs = _translate(ours, self._theirs)
        return ours.endswith(".weight") and _translate(theirs or "", table) is not None

    def _part(self, ours: str, tensor: Tensor) -> Tensor:
        tensor = tensor.T if self._is_transposed(ours) and tensor.ndim == 2 else tensor
        index, count = self._share(ours)
        if tensor.ndim == 0 or len(tensor) % count:
            return tensor
        return tensor.chunk(count)[index]


def _translate(name: str, table: Mapping[str, str]) -> str | None:
    """Look a parameter, or else its module, up: {i} in a key matches the first number in it."""
    module, _, last = name.rpartition(".")
    whole = _look_up(name, table)
    if whole is not None:
        return whole
    found = _look_up(module, table)
    return None if found is None else f"{found}.{last}"


def _look_up(name: str, table: Mapping[str, str]) -> str | None:
    found = table.get(name)
    number = re.search(r"(?<=\.)\d+(?=\.)", name)
    if found is None and number is not None:
        found = table.get(name[: number.start()] + PLACE + name[number.end() :])
        found = None if found is None else found.replace(PLACE, number.group())
    return found
