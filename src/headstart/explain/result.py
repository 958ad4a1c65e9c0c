"""An explanation as users get it: its values, and the ways to show them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from headstart.explain.page import page, write_page
from headstart.explain.terminal import plain
from headstart.explain.values import ExplanationValues


@dataclass(frozen=True)
class Explanation:
    """Why a model answers as it does. Made by `Model.explain`.

    Attributes:
        values: all there is, as plain values; `headstart.explain.values` says what each is.
    """

    values: ExplanationValues

    def to_json(self) -> str:
        """The values as JSON, with a line break at the end."""
        return json.dumps(self.values, indent=1, ensure_ascii=False) + "\n"

    def html(self) -> str:
        """One self-contained page: no request, good on paper."""
        return page(self.values)

    def write_html(self, path: str | Path) -> None:
        """Write the page, whole or not at all.

        Raises:
            UserError: the disk is full, or the place cannot be written.
        """
        write_page(self.values, Path(path))

    def __str__(self) -> str:
        """As the command prints it, without colours."""
        return plain(self.values)
