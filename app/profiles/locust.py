"""Build the profile of a user's own Locust test that has no profile file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.profiles.loading import load_profile_tree
from app.profiles.profile import Profile
from app.profiles.url_profile import build_profile_name

DEFAULT_USERS, DEFAULT_SPAWN_PER_S, DEFAULT_DURATION = 10, 10.0, "1m"


def build_locust_profile(
    file: Path,
    *,
    users: int | None = None,
    spawn_per_s: float | None = None,
    duration: str | None = None,
    host: str | None = None,
    overrides: Sequence[str] = (),
) -> Profile:
    """Build a profile that runs a Locust test with `users` users for `duration`, a string in
    profile notation. None stands for the default of each.

    `host` overrides the host that the test sets. Paths are relative to the working directory.
    Raises ProfileError.
    """
    target: dict[str, Any] = {"protocol": "locust", "file": str(file)}
    tree = {
        "sizewise": 1,
        "name": build_profile_name(file.stem, "locustfile"),
        "target": target if host is None else {**target, "url": host},
        "workload": {"spawn": f"{DEFAULT_SPAWN_PER_S if spawn_per_s is None else spawn_per_s:g}/s"},
        "load": {
            "stages": [
                {
                    "name": "users",
                    "concurrency": DEFAULT_USERS if users is None else users,
                    "duration": DEFAULT_DURATION if duration is None else duration,
                }
            ]
        },
    }
    return load_profile_tree(tree, "--locustfile", overrides)
