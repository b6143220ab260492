"""Profiles of endpoints, read from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.loading import load_profile
from app.profiles.local import LocalProfile


def load_endpoint_profile(
    path: Path, overrides: Sequence[str] = (), *, files_must_exist: bool = True
) -> EndpointProfile:
    """As `load_profile`; fails for the profile of a local model."""
    profile = load_profile(path, overrides, files_must_exist=files_must_exist)
    assert not isinstance(profile, LocalProfile)
    return profile
