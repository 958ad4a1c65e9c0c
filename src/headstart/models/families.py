"""The families that can be opened and saved."""

from __future__ import annotations

from headstart.models.bert import BERT
from headstart.models.family import Family

FAMILIES: dict[str, Family] = {family.name: family for family in (BERT,)}
