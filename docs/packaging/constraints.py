"""Print the pinned versions of requirements.lock as constraints for pip.

The lock itself cannot be a constraint, since with its hashes pip installs neither Sizewise from a folder nor a wheel
without a hash. This module imports the standard library only.
"""

from __future__ import annotations

from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


def build_constraints(lock: str) -> str:
    """Return the requirements of a lock file without their hashes, one per line."""
    requirements = (line.removesuffix("\\").rstrip() for line in lock.splitlines() if line and not line[0].isspace())
    return "".join(f"{requirement}\n" for requirement in requirements)


if __name__ == "__main__":
    print(build_constraints(LOCK.read_text("utf-8")), end="")
