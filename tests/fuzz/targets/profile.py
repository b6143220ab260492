"""A profile, loaded as `profiles check` loads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from app.profiles.loading import load_profile_text
from tests.fuzz.scratch import ROOT


def read(data: bytes) -> None:
    load_profile_text(data, Path("profile.yaml"))


def seeds() -> Iterable[bytes]:
    return (path.read_bytes() for path in sorted((ROOT / "profiles" / "workloads").glob("*.yaml")))
