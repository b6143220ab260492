"""Settings of a search for the max rate, as a profile states them and the session uses them."""

from __future__ import annotations

from typing import Literal

import msgspec

ArrivalProcess = Literal["poisson", "constant", "gamma"]


class SearchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a search for the max rate within the SLO.

    `burstiness` is the coefficient of variation of the gaps between gamma arrivals.
    `max_duration_s` is the time limit in s (`None` for no limit): no probe starts that would end
    later.
    """

    arrivals: ArrivalProcess = "poisson"
    burstiness: float | None = None
    start_per_s: float = 10.0
    step_duration_s: float = 10.0
    repeats: int = 3
    max_duration_s: float | None = None
