"""Data of a stage in addition to its rows. All metrics of the stage can be recomputed from this
data and the rows."""

from __future__ import annotations

import msgspec

from app.records.result import (
    ArrivalKind,
    BatchSummary,
    ErrorSample,
    OutputSummary,
    SessionSummary,
    StageKind,
    WorkerData,
)
from app.records.server_counters import ServerCounters


class ClassShare(msgspec.Struct, frozen=True):
    """Class of requests, and the share of the arrivals that the profile gives to it."""

    name: str
    share: float


class StageData(msgspec.Struct, frozen=True, kw_only=True):
    """Data of one stage. Arrivals were scheduled from `start_ns` for `duration_s`. If the stage has a
    number of requests, `duration_s` ends with the last scheduled start of an open loop, or with the
    last response of a closed loop. The time from `start_ns` to `end_ns` also includes the drain.

    `generator_capacity_per_s` is the calibrated capacity of the load generator with all its
    workers, and `generator_chunk_capacity_per_s` the calibrated capacity for chunks of streams;
    None if not measured. `is_saturated` is true if the stage was ended because its backlog kept
    growing; `stopped_early` is true if the stage ended before its last arrival for any reason.
    """

    index: int
    name: str
    kind: StageKind
    repeat: int
    tags: dict[str, str]
    arrival_kind: ArrivalKind
    rate_per_s: float | None
    """Constant rate of open-loop arrivals; None if the rate varies or the loop is closed."""
    duration_s: float
    start_ns: int
    end_ns: int
    worker_cpu_s: float
    connections_opened: int
    stopped_early: bool
    generator_capacity_per_s: float | None
    is_saturated: bool
    rates: tuple[tuple[float, float], ...] = ()
    """Rate curve of open-loop arrivals, as points (seconds from `start_ns`, requests per second)
    with linear interpolation. Before the first point and after the last point, the rate is
    constant."""
    cv: float = 1.0
    """Coefficient of variation of the interarrival times of gamma arrivals."""
    concurrency: int | None = None
    """Number of closed-loop clients; None in an open loop."""
    think_s: float = 0.0
    """Mean think time in s: the pause between a response and the next request of the same
    closed-loop client."""
    sessions: bool = False
    """True if an arrival starts a session, in which each further request follows a response; rates
    are then in sessions per second."""
    lead_in_s: float = 0.0
    """Duration in s of the lead-in: arrivals before `start_ns`, whose requests are in the rows but
    are excluded from all metrics."""
    rows_per_request: int = 1
    """Number of labeled rows of the data set in each request, which is also the maximum of the
    request column `correct_rows` (correct predictions)."""
    generator_chunk_capacity_per_s: float | None = None
    workers: tuple[WorkerData, ...] = ()
    """Data of each load worker; empty if there was only one load worker."""
    worker_cpu_wait_s: float | None = None
    """Time in s that the sending thread waited for a CPU core (see `WorkerData.cpu_wait_s`), for
    the load worker that waited longest."""
    is_generator_capacity_lower_bound: bool = False
    """True if at least one of the generator capacities is a lower bound: the next higher rate was
    not tested, or failed for a reason other than the load generator."""
    requests_output_lengths: bool = False
    """True if the profile requests output lengths in tokens. A limit that only prevents endless
    responses does not count."""
    error_samples: tuple[ErrorSample, ...] = ()
    """First failure of each error class."""
    target_ended: str | None = None
    """Description of how a target process, which the run had started, exited before the end of the
    stage; None if no target process exited."""
    extended_s: float = 0.0
    """Part of `duration_s`, in s, that the user added while the stage was running."""
    server: ServerCounters | None = None
    """What the target's servers counted during the stage; None if they report no known counters."""
    round_trip_ms: float | None = None
    """Mean of the lowest TCP round-trip time of each connection, to the first hop that ends a TCP
    connection. None if the OS does not report it, and for Unix sockets and gRPC."""
    live_sessions: SessionSummary | None = None
    """Sessions whose requests contained the server's own responses; None for other workloads."""
    classes: tuple[ClassShare, ...] = ()
    """Classes of requests, in the order of the request column `class`; empty without classes."""
    outputs: OutputSummary | None = None
    """Tool calls and structured output of the responses; None unless the workload has tools or
    checks responses against a JSON schema."""
    batch: BatchSummary | None = None
    """End of the job; None unless the stage is a job of the Batch API."""

    @property
    def is_closed_loop(self) -> bool:
        """True if clients send their next request after a response, so that nothing is offered."""
        return self.arrival_kind in ("closed", "locust")
