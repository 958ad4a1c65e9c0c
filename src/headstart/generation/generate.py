"""Prompts to what a model says next, in tokens.

Shapes: B rows, T tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from headstart.errors import UserError
from headstart.generation.beams import beam_search
from headstart.generation.options import MANY, Options
from headstart.generation.search import Ends, word_by_word
from headstart.models.language import LanguageModel, TextToText
from headstart.nn.ragged import Ragged

T = TypeVar("T")


def generate(
    model: LanguageModel | TextToText,
    prompts: Ragged,
    options: Options,
    ends: Ends | None = None,
    numbers: Sequence[int] | None = None,
) -> list[list[int]]:
    """The tokens that follow each prompt, up to and with the one that ends the text.

    Args:
        model: in eval mode.
        prompts: (T,) int64; a decoder goes on with them, an encoder reads them for its decoder.
        options: how words are chosen, and when a text ends.
        ends: whether a row's new tokens end it, for what tokens alone cannot tell.
        numbers: B whole numbers from 0; with the seed they say what a row draws. Default: 0 to B.

    Returns:
        New tokens of B * `num_return_sequences` rows, those of a prompt one after the other.

    Raises:
        UserError: a prompt is longer than the positions, or leaves no room for what was asked.
    """
    limits = row_limits(model, prompts.lengths, options)
    numbers = range(len(limits)) if numbers is None else numbers
    # Rows of about one length stand side by side, so that little padding is read.
    order = sorted(range(len(limits)), key=prompts.lengths.tolist().__getitem__)
    if options.num_beams > 1:
        best = beam_search(model, _rows(prompts, order), options, limits[order], ends)
        return [text for row in _unsorted(best, order) for text in row]
    copies = options.num_return_sequences
    order = [row for row in order for _ in range(copies)]
    drawn = [numbers[row] * copies + place % copies for place, row in enumerate(order)]
    said: list[list[int]] = [[] for _ in order]
    steps = word_by_word(model, _rows(prompts, order), options, limits[order], ends, drawn)
    for pairs in steps:
        for row, token in pairs:
            said[row].append(token)
    return _unsorted(said, order)


def _rows(prompts: Ragged, order: list[int]) -> Ragged:
    rows = prompts.split()
    return Ragged.from_rows([rows[row] for row in order])


def _unsorted(found: list[T], order: list[int]) -> list[T]:
    """What was found for rows in some order, in that of the rows; copies stay side by side."""
    places = sorted(range(len(order)), key=order.__getitem__)
    return [found[place] for place in places]


def row_limits(model: LanguageModel | TextToText, lengths: Tensor, options: Options) -> Tensor:
    """How many new tokens each row may have at most, (B,) int64.

    Args:
        model: its positions end a text.
        lengths: (B,) int64 tokens of the prompts.
        options: what was asked for.

    Raises:
        UserError: a prompt is longer than the positions, or leaves no room for what was asked.
    """
    positions = model.backbone.max_positions
    speaks_on = isinstance(model, LanguageModel)
    _check_prompts(lengths, positions - speaks_on)
    held = lengths if speaks_on else torch.ones_like(lengths)
    room = positions - held
    if options.max_new_tokens is not None:
        _check_room(held, room, options.max_new_tokens, positions)
        return torch.full_like(lengths, options.max_new_tokens)
    if options.max_length is None:
        return room.clamp(max=MANY)
    if int((held >= options.max_length).sum()):
        raise UserError(
            f"max_length: {int((held >= options.max_length).sum())} of {len(held)} prompts have "
            f"{options.max_length} tokens or more, the longest {int(held.max())}, so nothing can "
            "be said. Give max_new_tokens instead, which does not count the prompt."
        )
    return room.minimum(options.max_length - held)


def _check_prompts(lengths: Tensor, most: int) -> None:
    if int(lengths.max()) > most:
        raise UserError(
            f"texts: {int((lengths > most).sum())} of {len(lengths)} are longer than the {most} "
            f"tokens that the model can read, the longest has {int(lengths.max())}. Shorten them, "
            "or choose a model with more positions."
        )


def _check_room(held: Tensor, room: Tensor, wanted: int, positions: int) -> None:
    if int(room.min()) < wanted:
        raise UserError(
            f"max_new_tokens: {wanted} do not fit behind {int((room < wanted).sum())} of "
            f"{len(room)} texts, the longest of {int(held.max())} tokens, within the model's "
            f"{positions} positions. At most {int(room.min())} fit behind all: give "
            f"max_new_tokens={int(room.min())}, or leave it out to let each text end where its "
            "positions do."
        )
