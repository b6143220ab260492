"""Whether anybody still waits for a plan: one that is simulated takes a second, and its question may change."""

from __future__ import annotations

from collections.abc import Callable

Wanted = Callable[[], bool]


class NoLongerWantedError(Exception):
    """Nobody waits for the plan any more."""


def always() -> bool:
    return True
