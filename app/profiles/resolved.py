"""Format a profile with all defaults filled in, and compute the hashes of a profile and of its
workload."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.errors import UsageError
from app.profiles.document import format_document
from app.profiles.editing import format_profile
from app.profiles.local import LocalProfile
from app.profiles.profile import OipProfile, Profile
from app.profiles.secrets import REDACTED, is_reference, is_sensitive_header
from app.profiles.serve import get_model_path
from loadgen.records import Tls
from loadgen.regular_files import hash_regular

_KEY_ORDER = (
    "sizewise",
    "name",
    "description",
    "target",
    "workload",
    "load",
    "slo",
    "limits",
    "gates",
    "options",
    "traffic",
    "plan",
    "telemetry",
)
_UNHASHED_PATH_FIELDS = ("socket", "directory")


def format_spec(profile: Profile) -> str:
    """Return the profile as YAML with every key and default, and with secrets redacted.

    A profile that is loaded from the returned YAML has the same hash.
    """
    tree = _to_tree(profile)
    return format_document({key: tree[key] for key in _KEY_ORDER if key in tree})


def format_minimal(profile: Profile) -> str:
    """Return the profile as YAML with only the keys that differ from the defaults, and with secrets
    redacted.

    A profile that is loaded from the returned YAML has the same hash.
    """
    tree = profile.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return format_profile({key: tree[key] for key in _KEY_ORDER if key in tree})


def compute_profile_hash(profile: Profile) -> str:
    """Compute a hash that is equal for two profiles that measure the same thing.

    Files are represented by a hash of their content. Secrets are represented by a placeholder. The
    description, the telemetry, the options and the number of workers are ignored.
    """
    tree = _to_tree(profile)
    tree["description"] = None
    del tree["telemetry"]  # telemetry does not change what is measured
    if isinstance(profile, LocalProfile):
        return _compute_local_hash(tree, profile)
    del tree["load"]["workers"]  # the arrivals do not depend on the number of workers
    _replace_paths(tree, profile)
    del tree["options"]  # abort rules do not change what is measured
    target = tree["target"]
    if isinstance(profile, OipProfile) and profile.target.serve is not None:
        target["serve"]["model"] = _hash_path(profile.target.serve.model_path)
    if "headers" in target:
        headers = target["headers"]
        target["headers"] = {name: REDACTED if is_sensitive_header(name) else text for name, text in headers.items()}
        target["api_key"] = target["api_key"] and REDACTED
    if target["start"] is not None:
        variables = target["start"]["env"]
        target["start"]["env"] = {name: REDACTED if is_reference(text) else text for name, text in variables.items()}
    return _compute_hash(tree)


def compute_workload_hash(profile: Profile) -> str:
    """Compute a hash of the workload alone: the requests, or the rows of a local model.

    The hash does not depend on the target, the load or the limits.
    """
    tree = _to_tree(profile)
    _replace_paths(tree, profile)
    for request_class in tree["workload"].get("classes", ()):
        del request_class["slo"]  # objectives do not change the requests
    return _compute_hash(tree["workload"])


def _compute_local_hash(tree: dict[str, Any], profile: LocalProfile) -> str:
    _replace_paths(tree, profile)
    tree["target"]["model"] = [_hash_path(get_model_path(model)) for model in profile.target.models]
    for variant_tree, variant in zip(tree["target"]["variants"], profile.target.variants, strict=True):
        variant_tree["model"] = None if variant.model is None else _hash_path(get_model_path(variant.model))
    return _compute_hash(tree)


def _compute_hash(tree: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _to_tree(profile: Profile) -> dict[str, Any]:
    return profile.model_dump(mode="json", by_alias=True)


def _replace_paths(tree: dict[str, Any], settings: BaseModel) -> None:
    """Replace every path with a hash of the file's content, and remove the paths of sockets and
    working directories, in place."""
    for name, field in type(settings).model_fields.items():
        key, value = field.alias or name, getattr(settings, name)
        if isinstance(value, Path):
            tree[key] = None if name in _UNHASHED_PATH_FIELDS else _hash_path(value)
        elif isinstance(value, Tls):
            for file_key in ("ca_file", "cert_file", "key_file"):
                tree[key][file_key] = tree[key][file_key] and _hash_path(Path(tree[key][file_key]))
        elif isinstance(value, BaseModel):
            _replace_paths(tree[key], value)
        elif isinstance(value, tuple):
            for item_tree, item in zip(tree.get(key, ()), value, strict=False):
                if isinstance(item, BaseModel):
                    _replace_paths(item_tree, item)


def _hash_path(path: Path) -> str:
    """Compute the SHA-256 hash of a file, or of the names and contents of the files in a folder. Raises
    UsageError if one of them cannot be read."""
    try:
        if not path.is_dir():
            return hash_regular(path)
        child_hashes = [f"{child.name} {hash_regular(child)}" for child in sorted(path.iterdir()) if child.is_file()]
    except OSError as error:
        raise UsageError(
            f"{error.filename or path} cannot be read: {error.strerror}", hint="Remove it from the profile."
        ) from error
    return hashlib.sha256("\n".join(child_hashes).encode()).hexdigest()
