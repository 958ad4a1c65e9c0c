"""A model in the middle of texts: it has read them, and says what may come next.

Shapes: B rows, N ways on of each (beams; else 1), R = B * N, T tokens of all rows (Ts: of sources),
D width, V words in the vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.errors import UserError
from headstart.generation.past import Columns, GoingOn, LookingBack, Past, Reading
from headstart.generation.swap import swapped
from headstart.generation.thin import thin, thinned
from headstart.models.language import LanguageModel, TextToText
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.prefix import PrefixAttention
from headstart.nn.ragged import Layout, Ragged

CROSS = "cross_attention"
"""What a decoder block calls its attention to another text."""


class Told(nn.Module):
    """A decoder with the text that it speaks of.

    Args:
        decoder: maps tokens (T,) int64, with a memory (Ts, D), to (T, D).
        memory: of as many rows.
    """

    def __init__(self, decoder: nn.Module, memory: Ragged) -> None:
        super().__init__()
        self.decoder, self.memory = decoder, memory

    def forward(self, tokens: Ragged) -> Ragged:
        """Map tokens (T,) int64 to (T, D)."""
        return self.decoder(tokens, self.memory)


class Continuation:
    """Rows that were read, and go on token by token; some leave, some change places.

    Args:
        body: maps tokens (T,) int64 to (T, D); its attentions are causal.
        head: maps (T, D) to (T, V).
        opening: tokens (T,) int64 that the B rows begin with.
        told: (B,) int64, tokens of what the body's cross-attentions look at; none have none.
        room: tokens that a row can be given.
        num_beams: N.

    Attributes:
        opening: as given.
        scores: (B, V) of the word after each opening.
    """

    def __init__(
        self,
        body: nn.Module,
        head: nn.Module,
        opening: Ragged,
        *,
        told: Tensor | None = None,
        room: int,
        num_beams: int = 1,
    ) -> None:
        self.opening, device = opening, opening.layout.device
        self._head, self._num_beams = thinned(head), num_beams
        self._columns = Columns(opening.lengths, room, device, num_beams)
        self._told = Columns(opening.lengths if told is None else told, 0, device)
        self._opening_end = self._columns.used
        self._pasts: dict[MultiHeadAttention, Past] = {}
        read = swapped(body, self._reading)(opening)
        self.scores: Tensor = head(read.last())
        self._body = swapped(body, self._going_on)
        self._places = opening.layout.ends.repeat_interleave(num_beams)
        self._ones = torch.ones(len(self._places), dtype=torch.int64)

    def step(self, tokens: Tensor) -> Tensor:
        """Scores (R, V) of the word after the next tokens (R,) int64."""
        num_rows = len(tokens)
        layout = Layout(self._ones[:num_rows], tokens.device, self._places)
        self._columns.used += 1
        self._places = self._places + 1
        x: Ragged = self._body(Ragged(tokens, layout))
        return self._head(x.values)

    def keep(self, going: Tensor) -> Tensor:
        """Let the rows leave that are not going on, (B,) bool.

        Returns:
            (B',) int64: the row that each one was. Only as many change places as leave.
        """
        order = going.nonzero().flatten()
        holes = (~going[: len(order)]).nonzero().flatten()
        movers = order[len(order) - len(holes) :]
        order = torch.arange(len(order), device=going.device).index_copy_(0, holes, movers)
        for past in self._pasts.values():
            past.keep(len(order), holes, movers)
        self._columns.keep(order)
        self._told.keep(order)
        self._places = self._places.view(-1, self._num_beams)[order].flatten()
        return order

    def reorder(self, parents: Tensor) -> None:
        """Let each of R ways on continue another one of its row, (R,) int64."""
        for past in self._pasts.values():
            if past.columns is self._columns:
                past.reorder(parents, self._opening_end)

    def _reading(self, name: str, module: nn.Module) -> nn.Module:
        if isinstance(module, PrefixAttention):
            raise UserError(
                "generate: the model was trained with a prefix (prefix:N), and texts cannot go on "
                "from one yet. Train it with lora:N instead."
            )
        if not isinstance(module, MultiHeadAttention):
            return module
        assert module not in self._pasts, "an attention that two blocks share has two pasts"
        columns = self._told if name == CROSS else self._columns
        self._pasts[module] = Past(columns, module.form)
        return Reading(module, self._pasts[module])

    def _going_on(self, name: str, module: nn.Module) -> nn.Module:
        if not isinstance(module, MultiHeadAttention):
            return thin(module)
        past, kind = self._pasts[module], LookingBack if name == CROSS else GoingOn
        attention = thinned(module)
        assert isinstance(attention, MultiHeadAttention), "a copy is of the same kind"
        return kind(attention, past)


def begin(
    model: LanguageModel | TextToText,
    prompts: Ragged,
    *,
    room: int,
    num_beams: int = 1,
    start: int | None = None,
) -> Continuation:
    """Let a model read prompts.

    Args:
        model: in eval mode.
        prompts: (T,) int64; a decoder goes on with them, an encoder reads them for its decoder.
        room: tokens that a row can be given.
        num_beams: N, ways on of each row.
        start: token that a decoder begins with which an encoder stands before; None: the model's.
    """
    if isinstance(model, LanguageModel):
        return Continuation(model.backbone, model.lm_head, prompts, room=room, num_beams=num_beams)
    memory = model.backbone(prompts)
    first = torch.full((len(prompts.lengths),), model.start if start is None else start)
    layout = Layout(torch.ones_like(prompts.lengths), prompts.layout.device)
    return Continuation(
        Told(model.decoder, memory),
        model.lm_head,
        Ragged(first.to(layout.device), layout),
        told=prompts.lengths,
        room=room,
        num_beams=num_beams,
    )
