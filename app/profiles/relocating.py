"""A profile moved to another folder: paths in it, which are relative to where it stands, lead where they led."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from app.profiles import secrets
from app.profiles.bundled import bundled_models
from app.profiles.fields import FieldSpec, profile_fields
from app.profiles.profile import protocol_of

_OF_MODELS = ("ServeSettings", "VariantSettings", "LocalTarget")
_OF_SECRETS = ("headers", "env", "api_key")


def relocated(tree: dict[str, Any], directory: Path) -> dict[str, Any]:
    """With paths from `directory` made absolute; as it is where it does not say what it measures."""
    protocol = protocol_of(tree)
    if protocol is None:
        return tree
    moved = _moved(tree, profile_fields(protocol), directory.resolve(), "")
    start = moved["target"].get("start")
    if isinstance(start, dict):
        moved["target"]["start"] = {"directory": str(directory.resolve()), **start}
    return dict(moved)


def _moved(value: Any, spec: FieldSpec, directory: Path, holder: str) -> Any:
    if isinstance(value, dict) and spec.fields:
        known = {field.key: field for field in spec.fields}
        return {
            key: _moved(one, known[key], directory, spec.settings) if key in known else one
            for key, one in value.items()
        }
    if spec.key in _OF_SECRETS:
        return _anchored(value, directory)
    if isinstance(value, list) and spec.item is not None:
        return [_moved(one, _named(spec.item, spec.key), directory, holder) for one in value]
    if not isinstance(value, str):
        return value
    is_model = spec.key == "model" and holder in _OF_MODELS and value not in bundled_models()
    # a group that may be written as its path, as a data set
    is_short = spec.kind == "group" and any(field.kind == "path" and field.is_required for field in spec.fields)
    return str(directory / value) if spec.kind == "path" or is_model or is_short else value


def _named(item: FieldSpec, key: str) -> FieldSpec:
    """An item is called as its list, so that a list of models is known for one."""
    return msgspec.structs.replace(item, key=key)


def _anchored(value: Any, directory: Path) -> Any:
    if isinstance(value, dict):
        return {key: _anchored(one, directory) for key, one in value.items()}
    return secrets.anchor(value, directory) if isinstance(value, str) else value
