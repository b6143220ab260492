"""The profile that a user's own Locust test is run by, made without a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.profiles.loading import load_values
from app.profiles.profile import Profile

USERS, SPAWN_PER_S, DURATION = 10, 10.0, "1m"


def locust_profile(
    file: Path,
    *,
    users: int = USERS,
    spawn_per_s: float = SPAWN_PER_S,
    duration: str = DURATION,
    host: str | None = None,
    overrides: Sequence[str] = (),
) -> Profile:
    """`users` of a Locust test for `duration` (as profiles write it), against `host` where it is not the test's own.

    Raises ProfileError. Paths are relative to the working directory.
    """
    target: dict[str, Any] = {"protocol": "locust", "file": str(file)}
    values = {
        "sizewise": 1,
        "name": _name(file),
        "target": target if host is None else {**target, "url": host},
        "workload": {"spawn": f"{spawn_per_s:g}/s"},
        "load": {"stages": [{"name": "users", "concurrency": users, "duration": duration}]},
    }
    return load_values(values, "--locustfile", overrides)


def _name(file: Path) -> str:
    """The file's own, without what a run's name cannot hold."""
    name = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in file.stem
    )
    return name.lstrip("._-")[:64] or "locustfile"
