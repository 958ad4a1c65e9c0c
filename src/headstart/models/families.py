"""The families that can be opened and saved."""

from __future__ import annotations

from headstart.models.bert import BERT
from headstart.models.distilbert import DISTILBERT
from headstart.models.family import Family
from headstart.models.gpt2 import GPT2
from headstart.models.roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA

FAMILIES: dict[str, Family] = {
    family.name: family for family in (BERT, ROBERTA, XLM_ROBERTA, CAMEMBERT, DISTILBERT, GPT2)
}
