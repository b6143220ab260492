"""A profile written back with everything resolved, and its hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.profiles.document import document_text
from app.profiles.local import LocalProfile
from app.profiles.profile import OipProfile, Profile
from app.profiles.secrets import REDACTED, is_reference, is_sensitive
from app.profiles.serve import model_path

_ORDER = (
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
_PLACES = ("socket", "directory")


def spec_yaml(profile: Profile) -> str:
    """Every key with its value or default; secrets redacted. Loads again to a profile with the same hash."""
    plain = _plain(profile)
    return document_text({key: plain[key] for key in _ORDER if key in plain})


def profile_hash(profile: Profile) -> str:
    """The same for the same question: files count by their content, secrets by their header's name."""
    plain = _plain(profile)
    plain["description"] = None
    del plain["telemetry"]  # whoever looks on, the question is the same
    if isinstance(profile, LocalProfile):
        return _local_hash(plain, profile)
    del plain["load"]["workers"]  # the same arrivals are sent, whatever the number of those who send them
    _put_digests(plain, profile)
    del plain["options"]  # when to give up does not change what is asked
    target = plain["target"]
    if isinstance(profile, OipProfile) and profile.target.serve is not None:
        target["serve"]["model"] = _digest(profile.target.serve.model_path)
    if "headers" in target:
        headers = target["headers"]
        target["headers"] = {name: REDACTED if is_sensitive(name) else text for name, text in headers.items()}
        target["api_key"] = target["api_key"] and REDACTED
    if target["start"] is not None:
        variables = target["start"]["env"]
        target["start"]["env"] = {name: REDACTED if is_reference(text) else text for name, text in variables.items()}
    return _hash(plain)


def workload_hash(profile: Profile) -> str:
    """The same for the same requests, or the same rows of a local model, whatever the target, load and limits."""
    plain = _plain(profile)
    _put_digests(plain, profile)
    return _hash(plain["workload"])


def _local_hash(plain: dict[str, Any], profile: LocalProfile) -> str:
    _put_digests(plain, profile)
    plain["target"]["model"] = [_digest(model_path(model)) for model in profile.target.models]
    for told, variant in zip(plain["target"]["variants"], profile.target.variants, strict=True):
        told["model"] = None if variant.model is None else _digest(model_path(variant.model))
    return _hash(plain)


def _hash(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _plain(profile: Profile) -> dict[str, Any]:
    return profile.model_dump(mode="json", by_alias=True)


def _put_digests(plain: dict[str, Any], settings: BaseModel) -> None:
    """In place of every path: what is there, but for the places a server is started and listens in."""
    for name, field in type(settings).model_fields.items():
        key, value = field.alias or name, getattr(settings, name)
        if isinstance(value, Path):
            plain[key] = None if name in _PLACES else _digest(value)
        elif isinstance(value, BaseModel):
            _put_digests(plain[key], value)
        elif isinstance(value, tuple):
            for below, one in zip(plain.get(key, ()), value, strict=False):
                if isinstance(one, BaseModel):
                    _put_digests(below, one)


def _digest(path: Path) -> str:
    """Of a folder: of its files' names and contents."""
    if path.is_dir():
        parts = [f"{child.name} {_digest(child)}" for child in sorted(path.iterdir()) if child.is_file()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
