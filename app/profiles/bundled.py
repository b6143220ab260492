"""Find the profiles and models that are bundled with Sizewise."""

from __future__ import annotations

import ipaddress
import re
from importlib.resources import files
from pathlib import Path

from app.errors import UsageError
from app.profiles.problems import did_you_mean

_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:\d{1,5}(?:/|$)")
DATA_DIRECTORY = Path(str(files("profiles")))
"""Folder of the bundled data files."""


def bundled_profiles() -> dict[str, Path]:
    return {path.stem: path for path in sorted((DATA_DIRECTORY / "workloads").glob("*.yaml"))}


def bundled_models() -> dict[str, Path]:
    return {path.stem: path for path in sorted((DATA_DIRECTORY / "models").glob("*.onnx"))}


def _suggest_url(text: str) -> str | None:
    """Return a hint for a URL in place of a profile; `None` for any other text."""
    if "://" in text:
        return "To test a URL: `sizewise run http://…`, https:// or grpc://, with --save FILE.yaml for a profile of it."
    if _HOST_AND_PORT.match(text):
        return f"To test a URL: `sizewise run http://{text}`."
    host, slash, path = text.partition("/")
    if not _is_host_without_port(host):
        return None
    return f"To test a URL, add its scheme and port, as in `sizewise run http://{host}:8000{slash}{path}`."


def _is_host_without_port(text: str) -> bool:
    """Return True for `localhost`, an IPv4 address, or an IPv6 address in brackets. Other names of
    hosts cannot be distinguished from names of files."""
    is_bracketed = text.startswith("[") and text.endswith("]")
    try:
        return text == "localhost" or ipaddress.ip_address(text.strip("[]")).version == (6 if is_bracketed else 4)
    except ValueError:
        return False


def find_profile(name_or_path: str) -> Path:
    """Return the path of a profile. `name_or_path` is a path or the name of a bundled profile.
    Raises UsageError if there is no such profile."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    profiles = bundled_profiles()
    if path.is_dir():
        raise UsageError(f"{name_or_path} is a folder, not a profile", hint="Specify the .yaml file in it.")
    if name_or_path not in profiles:
        hint = (
            _suggest_url(name_or_path)
            or did_you_mean(name_or_path, profiles)
            or f"Use a file, or one of these bundled profiles: {', '.join(profiles)}."
        )
        raise UsageError(f"{name_or_path} is neither a file nor a bundled profile", hint=hint)
    return profiles[name_or_path]
