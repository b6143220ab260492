"""Data of a stage besides its rows; together with them, all its numbers can be recomputed."""

from __future__ import annotations

import msgspec

from app.records.result import ArrivalKind, ErrorSample, StageKind, WorkerData


class StageData(msgspec.Struct, frozen=True, kw_only=True):
    """Data of one stage. `start_ns` to `end_ns` includes the drain; arrivals were intended from `start_ns` for
    `duration_s`.

    `generator_capacity_per_s` is the calibrated capacity of the generator with all its workers, and
    `generator_chunk_capacity_per_s` that for the chunks of streams; None if not measured. `is_saturated` is True if the
    stage was ended because its backlog kept growing, `stopped_early` if it ended before its last arrival for any
    reason.
    """

    index: int
    name: str
    kind: StageKind
    repeat: int
    tags: dict[str, str]
    arrival_kind: ArrivalKind
    rate_per_s: float | None
    """Constant rate of open arrivals; None if it varies, or if responses decide it."""
    duration_s: float
    start_ns: int
    end_ns: int
    worker_cpu_s: float
    connections_opened: int
    stopped_early: bool
    generator_capacity_per_s: float | None
    is_saturated: bool
    rates: tuple[tuple[float, float], ...] = ()
    """Rate curve of open arrivals, as points (seconds from `start_ns`, requests per second) joined by lines; the first
    and last rate apply beyond them."""
    cv: float = 1.0
    """Coefficient of variation of the gaps of gamma arrivals."""
    concurrency: int | None = None
    """Number of clients of a closed loop."""
    think_s: float = 0.0
    """Mean pause of a closed-loop client between a response and its next request."""
    sessions: bool = False
    """True if an arrival starts a session whose further requests follow its responses; rates are then in sessions."""
    lead_in_s: float = 0.0
    """Duration of arrivals before `start_ns`, which are in the rows but not counted in any number."""
    rows_per_request: int = 1
    """Rows of a labeled data set in one request, the maximum of `right` in a row."""
    generator_chunk_capacity_per_s: float | None = None
    workers: tuple[WorkerData, ...] = ()
    """Data of each load worker if there were several; empty if there was one."""
    worker_cpu_wait_s: float | None = None
    """Time without a core, as in WorkerFacts, of the worker that waited longest."""
    is_generator_capacity_lower_bound: bool = False
    """True if one of the capacities is a lower bound, because no higher rate failed due to the generator."""
    requests_output_lengths: bool = False
    """True if the profile requests response lengths in tokens; a limit that only prevents endless responses does not
    count."""
    error_samples: tuple[ErrorSample, ...] = ()
    """First error of each error class."""
    target_ended: str | None = None
    """Process of the target, started by the run, that had ended by the end of the stage, and how it ended."""
    extended_s: float = 0.0
    """Part of `duration_s` that the user added while the stage ran."""
