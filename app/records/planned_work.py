"""Estimated amount of work that a profile requests, computed before the run."""

from __future__ import annotations

import msgspec


class PlannedSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated size of a search. Because the number of probes depends on the rate that the search
    finds, all fields are ranges (lowest, highest) over the assumed max rates `assumed_per_s`."""

    probes: tuple[int, int]
    duration_s: tuple[float, float]
    requests: tuple[float, float]
    assumed_per_s: tuple[float, float]


class ImpossibleVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A variant that would fail, and the reason. `cell` is the display name of the variant, and
    `hint` is the profile key to change, such as `target.batch`."""

    cell: str
    reason: str
    hint: str


class PlannedWork(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated work of a run. `stages` includes repeats and, for a local run, each scenario of
    each variant. Durations are those of the load, from warm-up to the last response, without
    calibration, cold starts and the final evaluation.

    `requests` is the expected number of open-loop requests. `closed_stages` is the number of
    closed-loop stages, which send further requests as fast as responses arrive. None means unknown;
    `tokens_reason` and `usd_reason` state the reason.
    """

    stages: int
    duration_s: float
    max_duration_s: float
    requests: float | None = None
    closed_stages: int = 0
    relative_stages: int = 0
    """Number of stages whose rate is relative to the completion rate of an earlier stage."""
    search: PlannedSearch | None = None
    variants: int | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    tokens_reason: str | None = None
    usd: tuple[float, float] | None = None
    """Cost in USD for the expected duration and for the maximum duration."""
    usd_reason: str | None = None
    limits: tuple[str, ...] = ()
    """Limits of the run that the profile sets, as display text."""
    cut_after: str | None = None
    """Limit that is expected to end the run early, as display text; None if the run is not expected
    to reach a limit."""
