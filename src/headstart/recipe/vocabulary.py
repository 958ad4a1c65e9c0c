"""A backbone from nothing by its size, and the vocabulary that it learns to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from headstart.errors import unknown_name
from headstart.recipe.values import Values

NEW = "new:"
"""What the name of a backbone from nothing begins with."""

VocabularyKind = Literal["byte-bpe", "wordpiece", "unigram"]


class Vocabulary(Values):
    """The vocabulary of a backbone from nothing, or new words for that of a checkpoint.

    Attributes:
        kind: how texts become tokens: "byte-bpe" (Radford et al. 2019), "wordpiece" (Devlin et al.
            2019) or "unigram" (Kudo 2018). Default: what the family was published with.
        size: tokens, special ones included. Default: 8,000.
        lowercase: whether capital letters count as small ones; of "wordpiece" alone. Default: yes.
        extend: how many new tokens to add to a checkpoint's own, the most useful of the texts that
            stages without labels read. Their vectors start as the mean of the tokens that they
            stand for.
    """

    kind: VocabularyKind | None = None
    size: Annotated[int, Field(ge=300, le=1_000_000)] | None = None
    lowercase: bool | None = None
    extend: Annotated[int, Field(ge=1, le=100_000)] | None = None


@dataclass(frozen=True)
class Size:
    """A backbone from nothing.

    Attributes:
        family: its `model_type`.
        blocks: how many there are; of an encoder and a decoder, in each.
        width: of a token's vector.
        heads: of attention.
        inner: width inside the feed-forward.
    """

    family: str
    blocks: int
    width: int
    heads: int
    inner: int


def _sizes() -> Iterator[tuple[str, Size]]:
    small = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "medium": (8, 512),
             "base": (12, 768)}  # fmt: skip
    for name, (blocks, width) in small.items():
        for family in ("bert", "roberta"):
            yield f"{family}-{name}", Size(family, blocks, width, width // 64, 4 * width)
    decoders = {"tiny": (2, 128), "mini": (4, 256), "small": (12, 768), "medium": (24, 1024),
                "large": (36, 1280), "xl": (48, 1600)}  # fmt: skip
    for name, (blocks, width) in decoders.items():
        yield f"gpt2-{name}", Size("gpt2", blocks, width, width // 64, 4 * width)
    both = {"tiny": (4, 256, 4, 1024), "mini": (4, 384, 8, 1536), "small": (6, 512, 8, 2048),
            "base": (12, 768, 12, 3072)}  # fmt: skip
    for name, sizes in both.items():
        yield f"t5-{name}", Size("t5", *sizes)


SIZES: dict[str, Size] = dict(_sizes())
"""By name. BERT's are those of Turc et al. 2019 (https://arxiv.org/abs/1908.08962, table 1), T5's
those of Raffel et al. 2020 and, below "small", of Tay et al. 2021 (https://arxiv.org/abs/2109.10686,
table 2); GPT-2's from "small" on those of Radford et al. 2019, below it BERT's."""

USUAL: dict[str, VocabularyKind] = {
    "bert": "wordpiece",
    "roberta": "byte-bpe",
    "gpt2": "byte-bpe",
    "t5": "unigram",
}
"""Kind of vocabulary that a family was published with."""

USUAL_SIZE = 8_000


def is_new(backbone: str) -> bool:
    """Whether a recipe's backbone is to be made from nothing."""
    return backbone.startswith(NEW)


def vocabulary_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """Faults between a recipe's backbone and its vocabulary."""
    backbone, said = values.get("backbone"), values.get("vocabulary")
    said = said.model_dump() if isinstance(said, Vocabulary) else said
    said = {key: v for key, v in said.items() if v is not None} if isinstance(said, Mapping) else {}
    if isinstance(backbone, str) and is_new(backbone):
        name = backbone.removeprefix(NEW)
        if name not in SIZES:
            yield unknown_name("backbone", "size", name, SIZES)
            return
        if "extend" in said:
            yield (
                "vocabulary.extend: a backbone from nothing has no vocabulary to extend. Say how "
                "large it is to be: size = ..."
            )
        kind = said.get("kind", USUAL[SIZES[name].family])
        if "lowercase" in said and kind != "wordpiece":
            yield f"vocabulary.lowercase: is of wordpiece alone; this is {kind}. Leave it out."
    else:
        for key in ("kind", "size", "lowercase"):
            if key in said:
                yield (
                    f"vocabulary.{key}: is of a backbone from nothing, such as 'new:bert-tiny'; a "
                    "checkpoint brings its own vocabulary. Leave it out, or add to that: extend = N"
                )
