"""Amount of work that a profile requests, estimated before it is run."""

from __future__ import annotations

import msgspec


class PlannedSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated size of a search, as ranges (lowest, highest) over the assumed max rates in `assumed_per_s`: the
    number of probes depends on what the search finds."""

    probes: tuple[int, int]
    duration_s: tuple[float, float]
    requests: tuple[float, float]
    assumed_per_s: tuple[float, float]


class ImpossibleVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A variant of a grid that would fail, and the reason. `hint` names the field that could change that."""

    cell: str
    reason: str
    hint: str


class PlannedWork(msgspec.Struct, frozen=True, kw_only=True):
    """Work of a run. `stages` includes repeats, and for a local run each scenario of each variant. Times are of the
    load, from warm-up to the last response: without calibration, cold starts, and the evaluation at the end.

    `requests` is the expected number of open-loop requests; `closed_stages` add as many more as fast as responses
    arrive. None means unknown; `tokens_reason` and `usd_reason` say why.
    """

    stages: int
    duration_s: float
    max_duration_s: float
    requests: float | None = None
    closed_stages: int = 0
    relative_stages: int = 0
    """Number of stages whose rate is a share of what an earlier one completes."""
    search: PlannedSearch | None = None
    variants: int | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    tokens_reason: str | None = None
    usd: tuple[float, float] | None = None
    """Cost in USD for the expected time and for the maximum time."""
    usd_reason: str | None = None
    limits: tuple[str, ...] = ()
    """The profile's limits, as text."""
    cut_after: str | None = None
    """The limit of the profile that ends the run early, as text."""
