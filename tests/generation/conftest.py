"""Tiny randomised language models of transformers, and the same models as ours.

Their prompts are padded on the left, with a mask; ours are ragged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.models.conftest import hf, make  # noqa: F401
from tests.models.parity import language_model
from torch import nn

from headstart.nn.ragged import Ragged

LENGTHS = [11, 3, 1, 13, 7]
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", {"n_positions": 61, "tie_word_embeddings": False}),
    "llama": ("LlamaForCausalLM", {"max_position_embeddings": 61}),
    "mistral": ("MistralForCausalLM", {"max_position_embeddings": 61}),
    "qwen3": ("Qwen3ForCausalLM", {"max_position_embeddings": 61}),
    "t5": ("T5ForConditionalGeneration", {}),
    "bart": ("BartForConditionalGeneration", {"max_position_embeddings": 61}),
    "marian": ("MarianMTModel", {"max_position_embeddings": 61, "decoder_attention_heads": 2}),
}
DECODERS = ("gpt2", "llama", "mistral", "qwen3")
WRITERS = ("t5", "bart", "marian")


def enliven(model: nn.Module) -> None:
    """Random weights with which a text does not say one word for ever."""
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "embed_positions" in name:
            continue  # Marian's are no parameters
        if parameter.ndim > 1:
            quiet = parameter.shape[0] == model.config.vocab_size or "encoder_attn" in name
            nn.init.normal_(parameter, std=0.4 if quiet else 1.1)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
        else:
            nn.init.normal_(parameter, mean=1.0, std=0.3)


class Pair:
    """One model twice: theirs and ours."""

    def __init__(self, theirs: nn.Module) -> None:
        enliven(theirs)
        self.theirs, self.model = theirs, language_model(theirs)

    def prompts(self, lengths: list[int] = LENGTHS) -> Ragged:
        generator = torch.Generator().manual_seed(7)
        return Ragged.from_rows([torch.randint(3, 101, (n,), generator=generator) for n in lengths])

    def generate(self, prompts: Ragged, eos: tuple[int, ...], **settings: Any) -> list[list[int]]:
        """What transformers says behind each prompt, up to and with what ends it."""
        rows, longest = prompts.split(), prompts.layout.longest
        tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask = torch.zeros_like(tokens)
        for row, place, seen in zip(rows, tokens, mask, strict=True):
            where = slice(longest - len(row), None)
            if self.theirs.config.is_encoder_decoder:
                where = slice(0, len(row))
            place[where], seen[where] = row, 1
        settings = {"num_beams": 1, "forced_eos_token_id": None, "early_stopping": False} | settings
        said = self.theirs.generate(
            input_ids=tokens, attention_mask=mask, eos_token_id=list(eos) or None, pad_token_id=0,
            do_sample=False, **settings,
        )  # fmt: skip
        said = said[:, 1 if self.theirs.config.is_encoder_decoder else longest :].tolist()
        return [until_end(row, eos) for row in said]


def some_ends(free: list[list[int]]) -> tuple[int, ...]:
    """Tokens that would end some of these rows, each at a place of its own, and not at once."""
    ends: list[int] = []
    for row in free:
        ends = [*ends, *[t for t in row[1:] if t not in row[:1] and t not in ends][len(ends) :][:1]]
    return tuple(sorted(ends[:3]))


def until_end(row: list[int], eos: tuple[int, ...]) -> list[int]:
    ends = [place for place, token in enumerate(row) if token in eos]
    return row[: ends[0] + 1] if ends else row


@pytest.fixture(scope="session")
def pair(make) -> Callable[[str], Pair]:  # noqa: F811
    """A model by its name in `MODELS`, made once."""
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        if name not in made:
            kind, settings = MODELS[name]
            made[name] = Pair(make(kind, **settings))
        return made[name]

    return get
