"""Loads that depend on results of the run, as stated in a profile and used by the session: a search for the max rate,
and a rate relative to an earlier stage."""

from __future__ import annotations

from typing import Literal

import msgspec

ArrivalProcess = Literal["poisson", "constant", "gamma"]


class RateShare(msgspec.Struct, frozen=True):
    """A rate derived from an earlier stage: `fraction` times the completed requests per second of
    the stage with the name `stage`."""

    stage: str
    fraction: float


class SearchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a search for the max rate within the SLO.

    `cv` is the coefficient of variation of the interarrival times of gamma arrivals.
    `max_duration_s` is the time limit of the search in s (`None` for no limit): a probe that would
    end after the limit is not started or repeated.
    """

    arrivals: ArrivalProcess = "poisson"
    cv: float | None = None
    start_per_s: float = 10.0
    step_duration_s: float = 10.0
    repeats: int = 3
    max_duration_s: float | None = 300.0
