"""Numbers as one reads them on paper. What is absent or not finite becomes a dash."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from headstart.report.text import duration
from headstart.verdict.order import MEAN_RANK, MEASURES

ABSENT = "–"
MAX_CHARACTERS = 1000
# Characters that a page may not hold, as the pictures Unicode has for them.
CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: Any, digits: int = 0) -> str:
    """10072 as "10,072"."""
    return f"{value:,.{digits}f}".replace("-", "−") if is_number(value) else ABSENT


def share(value: Any, digits: int = 1) -> str:
    """0.847 as "84.7 %"."""
    return f"{number(100 * value, digits)} %" if is_number(value) else ABSENT


def hundredths(value: Any) -> str:
    """0.847 as "84.7"."""
    return number(100 * value, 1) if is_number(value) else ABSENT


def points(value: Any) -> str:
    """0.034 as "+3.4"."""
    return f"{100 * value:+.1f}".replace("-", "−") if is_number(value) else ABSENT


def rate(value: Any) -> str:
    """A learning rate: 0.0001 as "1e−4", 0 as "frozen"."""
    if not is_number(value):
        return ABSENT
    if value <= 0:
        return "frozen"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", "−")


def memory(value: Any) -> str:
    """Bytes: 1234567890 as "1.23 GB"."""
    if not is_number(value):
        return ABSENT
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def seconds(value: Any) -> str:
    """185 as "3 min 5 s"."""
    return duration(value) if is_number(value) else ABSENT


def signed(value: Any) -> str:
    """0.314 as "+0.31"."""
    return f"{value:+.2f}".replace("-", "−") if is_number(value) else ABSENT


def watt_hours(value: Any) -> str:
    """0.0314 as "0.03 Wh", 1234 as "1.23 kWh"."""
    if not is_number(value):
        return ABSENT
    if value >= 1000:
        return f"{value / 1000:.2f} kWh"
    return f"{value:.2f} Wh" if value < 10 else f"{value:.0f} Wh"


def measure(name: Any) -> str:
    """A measure of a ranking, as its table calls it."""
    return MEASURES.get(name, "mean rank" if name == MEAN_RANK else str(name))


def measures(candidates: Iterable[Mapping[str, Any]]) -> list[str]:
    """The measures that some candidate has, in their usual order."""
    there = {name for one in candidates for name in one}
    return [name for name in MEASURES if name in there]


def count(value: Any, one: str, many: str | None = None) -> str:
    """A number with its noun: 1 seed, 3 seeds."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def way(name: Any, titles: Mapping[str, str]) -> str:
    """An arm by its title, where it has one."""
    return arrows(titles.get(name, name))


def arrows(text: Any) -> str:
    """A title as typed on a keyboard, with the arrow it means."""
    return str(text).replace(" -> ", " → ")


def clip(text: Any) -> str:
    """The first characters of a text, and how many were left out."""
    whole = str(text)
    left = len(whole) - MAX_CHARACTERS
    return whole if left <= 0 else f"{whole[:MAX_CHARACTERS]} … ({number(left)} characters more)"


def printable(page: str) -> str:
    """A page without control characters and lone surrogates, which no HTML file may hold."""
    return page.translate(CONTROLS).encode("utf-8", "replace").decode("utf-8")
