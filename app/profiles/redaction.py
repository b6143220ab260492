"""Redact, relocate and inspect profiles before they are shared.

The module finds and redacts the secrets in a profile. It makes relative paths absolute, so that the
profile can be moved to another folder, and lists the paths in a profile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from app.errors import ProfileError
from app.profiles import secrets
from app.profiles.bundled import bundled_models
from app.profiles.datasets import SECRET_BODY_KEYS, find_secret_paths_in_body
from app.profiles.document import KeyPath, read_document
from app.profiles.editing import rewrite, set_value
from app.profiles.fields import FieldSpec, profile_fields
from app.profiles.problems import BadValueError
from app.profiles.profile import find_protocol

_POSSIBLE_SECRET = re.compile(
    r"headers|api_key|\benv\b|body|bodies|template|session|://[^\s/]*@|[?&][\w-]+=", re.IGNORECASE
)


def find_secret_keys(spec_text: str) -> tuple[str, ...]:
    """Return the keys of a profile whose values contain a secret although only a reference is
    allowed. The secrets themselves are never returned.

    Profiles written by Sizewise contain no secrets, but profiles that were edited afterwards may.
    Raises ProfileError if the text is not a valid document.
    """
    tree = read_document(spec_text.encode(), "spec.yaml").value
    return tuple(".".join(str(key) for key in path if isinstance(key, str)) for path in _find_secret_paths(tree))


def redact_profile(text: str) -> str | None:
    """Return the profile with every secret redacted. Return `None` if the text is not a valid
    document but may contain a secret."""
    try:
        tree = read_document(text.encode(), "profile").value
    except ProfileError:
        return None if _POSSIBLE_SECRET.search(text) else text
    paths = tuple(_find_secret_paths(tree))
    for path in paths:
        tree = set_value(tree, path, secrets.REDACTED)
    return rewrite(text, tree).text if paths else text


def _find_secret_paths(tree: Any) -> Iterator[KeyPath]:
    target = _as_mapping(_as_mapping(tree).get("target"))
    yield from _find_secret_header_paths(target, ("target",))
    if _is_literal(target.get("api_key")):
        yield "target", "api_key"
    for name, value in _as_mapping(_as_mapping(target.get("start")).get("env")).items():
        if secrets.is_secret_name(name) and _is_literal(value):
            yield "target", "start", "env", name
    for key in ("url", "urls"):
        yield from _find_secret_url_paths(target.get(key), ("target", key))
    workload = _as_mapping(_as_mapping(tree).get("workload"))
    for key in SECRET_BODY_KEYS:
        yield from find_secret_paths_in_body(workload.get(key), ("workload", key))
    yield from _find_secret_url_paths(workload.get("path"), ("workload", "path"))
    classes = workload.get("classes")
    for index, request_class in enumerate(classes if isinstance(classes, list) else ()):
        for key in SECRET_BODY_KEYS:
            body = _as_mapping(request_class).get(key)
            yield from find_secret_paths_in_body(body, ("workload", "classes", index, key))
        path = _as_mapping(request_class).get("path")
        yield from _find_secret_url_paths(path, ("workload", "classes", index, "path"))
    telemetry = _as_mapping(tree).get("telemetry")
    for path, scrape in _iter_items(telemetry, ("telemetry",)):
        yield from _find_secret_header_paths(_as_mapping(scrape), path)
        yield from _find_secret_url_paths(_as_mapping(scrape).get("scrape"), (*path, "scrape"))


def _find_secret_header_paths(container: dict[str, Any], path: KeyPath) -> Iterator[KeyPath]:
    for name, value in _as_mapping(container.get("headers")).items():
        if secrets.is_sensitive_header(name) and _is_literal(value):
            yield *path, "headers", name


def _find_secret_url_paths(value: object, path: KeyPath) -> Iterator[KeyPath]:
    for url_path, url in _iter_items(value, path):
        try:
            secrets.check_url_has_no_secret(str(url))
        except (BadValueError, ValueError):
            yield url_path


def _iter_items(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    """Yield the items of a list with their paths, or a single value with its path."""
    if isinstance(value, list):
        yield from (((*path, index), item) for index, item in enumerate(value))
    else:
        yield path, value


def _is_literal(value: object) -> bool:
    return value is not None and value != secrets.REDACTED and not secrets.is_reference(str(value))


def _as_mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_MODEL_SETTINGS_CLASSES = ("ServeSettings", "VariantSettings", "LocalTarget")
_SECRET_KEYS = ("headers", "env", "api_key")
_PATH_OR_CONTENT_KEYS = ("json_schema",)
"""Keys whose value is the path of a file if it is text, and otherwise the content of the file."""


def make_paths_absolute(tree: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return a copy of the profile in which every path relative to `directory` is absolute. A
    profile without a known protocol is returned unchanged."""
    protocol = find_protocol(tree)
    if protocol is None:
        return tree
    folder = directory.resolve()

    def relocate(key: str, text: str) -> str:
        return secrets.make_reference_absolute(text, folder) if key in _SECRET_KEYS else str(folder / text)

    relocated_tree = _map_paths(tree, profile_fields(protocol), relocate, "")
    start = relocated_tree["target"].get("start")
    if isinstance(start, dict):
        relocated_tree["target"]["start"] = {"directory": str(folder), **start}
    return dict(relocated_tree)


def list_paths(tree: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return every path of a file or folder in a profile, with its key. References to secrets are
    excluded."""
    protocol = find_protocol(tree)
    paths: list[tuple[str, str]] = []

    def collect(key: str, text: str) -> str:
        if key not in _SECRET_KEYS:
            paths.append((key, text))
        return text

    if protocol is not None:
        _map_paths(tree, profile_fields(protocol), collect, "")
    return tuple(paths)


_MapPath = Callable[[str, str], str]
"""Converts a path, or a reference to a secret, given its key."""


def _map_paths(value: Any, spec: FieldSpec, map_path: _MapPath, settings_class_name: str) -> Any:
    """Return a copy of a value of a profile in which `map_path` has converted each path and each
    secret."""
    if isinstance(value, dict) and spec.fields:
        fields_by_key = {field.key: field for field in spec.fields}
        return {
            key: _map_paths(child, fields_by_key[key], map_path, spec.settings) if key in fields_by_key else child
            for key, child in value.items()
        }
    if spec.key in _SECRET_KEYS:
        return _map_secrets(value, spec.key, map_path)
    if isinstance(value, list) and spec.item is not None:
        return [
            _map_paths(child, _copy_with_key(spec.item, spec.key), map_path, settings_class_name) for child in value
        ]
    if not isinstance(value, str):
        return value
    is_model_path = (
        spec.key == "model" and settings_class_name in _MODEL_SETTINGS_CLASSES and value not in bundled_models()
    )
    # Some groups, such as datasets, may be written as a path only.
    is_path_shorthand = spec.kind == "group" and any(
        field.kind == "path" and field.is_required for field in spec.fields
    )
    is_path = spec.kind == "path" or is_model_path or is_path_shorthand or spec.key in _PATH_OR_CONTENT_KEYS
    return map_path(spec.key, value) if is_path else value


def _copy_with_key(item: FieldSpec, key: str) -> FieldSpec:
    """Return a copy of the field `item` with the key of its list. The items of a list of models are
    recognized as models by this key."""
    return msgspec.structs.replace(item, key=key)


def _map_secrets(value: Any, key: str, map_path: _MapPath) -> Any:
    if isinstance(value, dict):
        return {name: _map_secrets(item, key, map_path) for name, item in value.items()}
    return map_path(key, value) if isinstance(value, str) else value
