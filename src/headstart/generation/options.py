"""How words are chosen, and when a text ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from headstart.errors import UserError, nearest

MANY = 64
"""Most new tokens, where neither a caller nor a model's folder says."""


@dataclass(frozen=True)
class Options:
    """How words are chosen, and when a text ends. Names are those of transformers where it has one.

    Attributes:
        max_new_tokens: most tokens a text is given. Default: as many as `max_length` leaves, else
            `MANY`; in both cases no more than there are positions.
        max_length: most tokens of a text with its prompt (a decoder), or with the token it starts
            with (an encoder-decoder); read where `max_new_tokens` is not given.
        min_new_tokens: before so many, no token that ends a text is chosen.
        eos: tokens that end a text; with none it ends where it may be no longer.
        start: token that an encoder-decoder's texts start with; None: the model's own.
        num_beams: how many beginnings are followed at once (beam search); 1: the likeliest word.
        length_penalty: a beam's log probability is divided by its length to this power.
        early_stopping: when a row's beams end: True, as soon as `num_beams` texts are finished;
            False, when no running one is likely to be better; "never", when none can be.
        num_return_sequences: how many texts a prompt gets; the best beams, or so many samples.
        sample: draw words by their probability, rather than take the likeliest.
        temperature: scores are divided by it: below 1 likely words become likelier.
        top_k: draw from so many likeliest words only.
        top_p: draw from the fewest likeliest words that have this probability together
            (Holtzman et al. 2020).
        min_p: draw from words at least this share as likely as the likeliest (Nguyen et al. 2024).
        seed: of what is drawn. A row's text depends on it, the row's number and its prompt.
        repetition_penalty: scores of words that the text holds are divided by it where above 0,
            multiplied where below (Keskar et al. 2019).
        no_repeat_ngram_size: no run of so many tokens comes twice; 0: any may.
        forbidden: tokens that are never chosen, but for those that end a text.
        first: token that every text begins with, behind `start`.
        last: tokens one of which ends a text that may be no longer.
        renormalize: whether beams add up probabilities that sum to 1 after all of the above.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int = 0
    eos: tuple[int, ...] = ()
    start: int | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    num_return_sequences: int = 1
    sample: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    forbidden: tuple[int, ...] = ()
    first: int | None = None
    last: tuple[int, ...] = ()
    renormalize: bool = False

    def __post_init__(self) -> None:
        faults = [f for name, check in CHECKS.items() if (f := check(name, getattr(self, name)))]
        if faults:
            raise UserError(faults)
        limit = self.max_new_tokens
        if limit is not None and self.min_new_tokens > limit:
            faults.append(f"min_new_tokens: {self.min_new_tokens} is above max_new_tokens {limit}.")
        if self.sample and self.num_beams > 1:
            faults.append(
                f"num_beams: {self.num_beams} beams are not drawn at random. Give num_beams=1, or "
                "sample=False and none of temperature, top_k, top_p, min_p."
            )
        if not self.sample and self.num_return_sequences > self.num_beams:
            faults.append(
                f"num_return_sequences: {self.num_return_sequences} texts from {self.num_beams} "
                f"beams. Give num_beams={self.num_return_sequences} or more, or sample=True."
            )
        faults += [
            f"{name}: is read when words are drawn, and sample is False. Leave it out, or give "
            "sample=True."
            for name, neutral in SAMPLING.items()
            if not self.sample and getattr(self, name) != neutral
        ]
        if faults:
            raise UserError(faults)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """Options by name.

        Raises:
            UserError: a name is not known, or a value cannot be; all of them at once.
        """
        known = {field.name for field in fields(cls)}
        faults = [
            f"{name}: is no option.{nearest(name, known)} Known: {', '.join(sorted(known))}."
            for name in values
            if name not in known
        ]
        try:
            options = cls(**{name: value for name, value in values.items() if name in known})
        except UserError as error:
            raise UserError([*faults, *error.faults]) from None
        if faults:
            raise UserError(faults)
        return options


SAMPLING: dict[str, float | None] = {
    "temperature": 1.0,
    "top_k": None,
    "top_p": None,
    "min_p": None,
}
"""What is read when words are drawn, and the value that changes nothing."""

Check = Callable[[str, Any], str | None]


def _whole(lowest: int, *, optional: bool = False) -> Check:
    def check(name: str, value: Any) -> str | None:
        if _is_whole(value, lowest) or (optional and value is None):
            return None
        return f"{name}: must be a whole number, {lowest} or more; got {value!r}."

    return check


def _number(low: float, high: float = math.inf, *, optional: bool = False) -> Check:
    """Above `low`, and `high` or less."""

    def check(name: str, value: Any) -> str | None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if (optional and value is None) or (number and low < value <= high and value < math.inf):
            return None
        most = "" if high == math.inf else f" and {high:g} or less"
        least = "a number" if low == -math.inf else f"a number above {low:g}"
        return f"{name}: must be {least}{most}; got {value!r}."

    return check


def _flag(name: str, value: Any) -> str | None:
    return None if isinstance(value, bool) else f"{name}: must be True or False; got {value!r}."


def _stopping(name: str, value: Any) -> str | None:
    if isinstance(value, bool) or value == "never":
        return None
    return f'{name}: must be True, False or "never"; got {value!r}.'


def _tokens(name: str, value: Any) -> str | None:
    if isinstance(value, tuple) and all(_is_whole(token, 0) for token in value):
        return None
    return f"{name}: must be a tuple of tokens, whole numbers from 0; got {value!r}."


def _is_whole(value: Any, lowest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= lowest


CHECKS: dict[str, Check] = {
    "max_new_tokens": _whole(1, optional=True),
    "max_length": _whole(1, optional=True),
    "min_new_tokens": _whole(0),
    "eos": _tokens,
    "start": _whole(0, optional=True),
    "num_beams": _whole(1),
    "length_penalty": _number(-math.inf),
    "early_stopping": _stopping,
    "num_return_sequences": _whole(1),
    "sample": _flag,
    "temperature": _number(0),
    "top_k": _whole(1, optional=True),
    "top_p": _number(0, 1, optional=True),
    "min_p": _number(0, 1, optional=True),
    "seed": _whole(0),
    "repetition_penalty": _number(0),
    "no_repeat_ngram_size": _whole(0),
    "forbidden": _tokens,
    "first": _whole(0, optional=True),
    "last": _tokens,
    "renormalize": _flag,
}
