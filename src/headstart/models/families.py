"""The families that can be opened and saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.errors import unknown_name
from headstart.models.backbone import Backbone
from headstart.models.bart import BART
from headstart.models.bert import BERT
from headstart.models.bridge import INSTALL, bridgeable, bridged_family, family_by
from headstart.models.bridged import BridgedBackbone
from headstart.models.clip import CLIP_FAMILIES
from headstart.models.deberta import DEBERTA_V2
from headstart.models.dinov2 import DINOV2, DINOV2_WITH_REGISTERS
from headstart.models.distilbert import DISTILBERT
from headstart.models.family import Family
from headstart.models.gpt2 import GPT2
from headstart.models.llama import LLAMA_FAMILIES
from headstart.models.marian import MARIAN
from headstart.models.modernbert import MODERNBERT
from headstart.models.roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA
from headstart.models.siglip import SIGLIP_FAMILIES
from headstart.models.t5 import T5_FAMILIES
from headstart.models.vit import DEIT, VIT

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (BERT, ROBERTA, XLM_ROBERTA, CAMEMBERT, DISTILBERT, DEBERTA_V2, MODERNBERT, GPT2,
                   *LLAMA_FAMILIES, *T5_FAMILIES, BART, MARIAN, VIT, DEIT,
                   DINOV2, DINOV2_WITH_REGISTERS, *CLIP_FAMILIES, *SIGLIP_FAMILIES)
}  # fmt: skip


def family_of(values: Mapping[str, Any]) -> Family:
    """The family of a config.json: one of ours, or one that the bridge to transformers makes.

    Raises:
        ValueError: neither has this `model_type`, or transformers cannot build the model.
    """
    kind = str(values["model_type"])
    if kind in FAMILIES:
        return FAMILIES[kind]
    known = bridgeable(kind)
    if known:
        return bridged_family(values)
    more = "transformers has none either." if known is False else (
        f"If transformers has it, the bridge opens it: {INSTALL}."
    )  # fmt: skip
    raise ValueError(f"{unknown_name('model_type', 'supported family', kind, FAMILIES)} {more}")


def family_behind(backbone: Backbone) -> Family:
    """The family that a backbone is of, the bridge's among them."""
    if isinstance(backbone, BridgedBackbone):
        return family_by(backbone.plan, backbone.family)
    return FAMILIES[backbone.family]
