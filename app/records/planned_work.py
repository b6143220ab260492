"""How much a profile asks for, told before it is run."""

from __future__ import annotations

import msgspec


class PlannedSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Least and most over answers from `supposed_per_s` on: how many probes a search takes depends on what it finds."""

    probes: tuple[int, int]
    duration_s: tuple[float, float]
    requests: tuple[float, float]
    supposed_per_s: tuple[float, float]


class ImpossibleCell(msgspec.Struct, frozen=True, kw_only=True):
    """A variant of a grid that would fail, and why. `settles` names the field that could change that."""

    cell: str
    reason: str
    settles: str


class PlannedWork(msgspec.Struct, frozen=True, kw_only=True):
    """`stages` count repeats, and of a local run each scenario of each variant. Times are of the load, from warm-up to
    the last answer: without calibration, cold starts, and the judging at the end.

    `requests` are those that come by themselves, expected; `closed_stages` have as many more as answers come fast.
    None is not known; `tokens_reason` and `usd_reason` say why.
    """

    stages: int
    duration_s: float
    at_most_s: float
    requests: float | None = None
    closed_stages: int = 0
    relative_stages: int = 0
    """Whose rate is a share of what an earlier one completes."""
    search: PlannedSearch | None = None
    variants: int | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    tokens_reason: str | None = None
    usd: tuple[float, float] | None = None
    """In the usual time, and at most."""
    usd_reason: str | None = None
    limits: tuple[str, ...] = ()
    """Those of the profile, in words."""
    cut_after: str | None = None
    """The limit of the profile that ends it early, in words."""
