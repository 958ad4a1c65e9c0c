"""The published schema is that of the typed values."""

from __future__ import annotations

from pathlib import Path

from headstart.verdict.schema import json_schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "verdict.schema.json"


def test_the_published_schema_is_up_to_date():
    """Make it anew with: python -m headstart.verdict.schema > docs/verdict.schema.json"""
    assert PUBLISHED.read_text(encoding="utf-8") == json_schema()
