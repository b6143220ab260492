"""A profile written back with everything resolved, and its hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from app.profiles.document import plain_scalar
from app.profiles.profile import OipProfile, Profile
from app.profiles.secrets import REDACTED, is_sensitive

_ORDER = ("sizewise", "name", "target", "workload", "load", "slo", "limits", "gates", "traffic", "plan")


def spec_yaml(profile: Profile) -> str:
    """Every key with its value or default; secrets redacted. Loads again to a profile with the same hash."""
    plain = _plain(profile)
    return yaml.dump(
        {key: plain[key] for key in _ORDER}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120
    )


def profile_hash(profile: Profile) -> str:
    """The same for the same question: files count by their content, secrets by their header's name."""
    plain = _plain(profile)
    headers = plain["target"]["headers"]
    plain["target"]["headers"] = {name: REDACTED if is_sensitive(name) else text for name, text in headers.items()}
    plain["target"]["tls"]["ca_file"] = _digest(profile.target.tls.ca_file)
    if isinstance(profile, OipProfile):
        plain["workload"]["tensors"] = _digest(profile.workload.tensors)
        if profile.target.serve is not None:
            plain["target"]["serve"]["model"] = _digest(profile.target.serve.model_path)
    else:
        plain["workload"]["dataset"] = _digest(profile.workload.dataset)
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _plain(profile: Profile) -> dict[str, Any]:
    return profile.model_dump(mode="json", by_alias=True)


def _digest(path: Path | None) -> str | None:
    if path is None:
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Dumper(yaml.SafeDumper):
    """Quotes text that our reader, which follows YAML 1.2, would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain_scalar(text) == text else '"')


_Dumper.add_representer(str, _represent_text)
