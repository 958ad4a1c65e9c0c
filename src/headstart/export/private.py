"""What may leave this machine: names, never the places where things lie on it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from headstart.models.resolve import PACKAGED, WELL_KNOWN

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
PATH_KEYS = frozenset(
    "name_or_path _name_or_path base_model_name_or_path special_tokens_map_file tokenizer_file "
    "vocab_file merges_file".split()
)
"""Keys under which the files of tokenizers and adapters keep where something was read from."""


def last_part(path: str) -> str:
    """The name of a file or folder without the way to it."""
    return PurePosixPath(path.replace("\\", "/")).name or path


def is_place(text: str) -> bool:
    """Whether a text is a path that says where something lies, from the root, home or here."""
    absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return absolute or text.startswith(("~", "./", "../", ".\\", "..\\", "file:"))


def hub_name(name: str) -> str | None:
    """The name of a backbone on the Hugging Face hub; None for what is no more than a folder."""
    if name in PACKAGED:
        return PACKAGED[name].hub
    if is_place(name) or Path(name).exists():
        return None
    return name if HUB_NAME.fullmatch(name) or name in WELL_KNOWN else None


def shown_name(name: str) -> str:
    """How a backbone is called where others read it."""
    return hub_name(name) or last_part(name)


def public_provenance(provenance: dict[str, Any]) -> dict[str, Any]:
    """A copy without paths: of data and backbones their names alone are left."""
    public: dict[str, Any] = _without_places(provenance)
    if isinstance(public.get("backbone"), str):
        public["backbone"] = shown_name(provenance["backbone"])
    for stage in public.get("stages", []):
        if isinstance(stage.get("data"), str):
            stage["data"] = last_part(stage["data"])
    return public


def public_settings(values: Any) -> Any:
    """A copy of a JSON file's values in which the known keys of paths hold names."""
    if isinstance(values, dict):
        return {key: _public_value(key, value) for key, value in values.items()}
    return [public_settings(value) for value in values] if isinstance(values, list) else values


def _public_value(key: str, value: Any) -> Any:
    if key in PATH_KEYS and isinstance(value, str):
        return shown_name(value)
    if key == "base" and isinstance(value, dict) and isinstance(value.get("name"), str):
        return value | {"name": shown_name(value["name"])}  # the weights an adapter is for
    return public_settings(value)


def _without_places(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without_places(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_without_places(value) for value in values]
    return last_part(values) if isinstance(values, str) and is_place(values) else values
