from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tests.data.layouts import MAKERS


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small tokenizer by the name of its layout; made once, not to be changed."""

    @cache
    def make(name: str) -> Path:
        return MAKERS[name](tmp_path_factory.mktemp(name))

    return make
