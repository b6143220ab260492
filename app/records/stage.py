"""What is known of a stage besides its rows; with them, all its numbers can be computed again."""

from __future__ import annotations

import msgspec

from app.records.result import ArrivalKind, ErrorSample, StageKind, WorkerFacts


class StageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`start_ns` to `end_ns` includes the drain; arrivals were intended from `start_ns` for `duration_s`.

    `ceiling_per_s` is the calibrated ceiling of the generator, its workers together, and `chunk_ceiling_per_s` that of
    the chunks of streams; None when not measured. `over_saturated`: the stage was
    ended because its backlog kept growing; `stopped_early`: for whatever reason before its last arrival.
    """

    index: int
    name: str
    kind: StageKind
    repeat: int
    tags: dict[str, str]
    arrival_kind: ArrivalKind
    rate_per_s: float | None
    """The one rate of open arrivals; None where it varies, or where answers decide it."""
    duration_s: float
    start_ns: int
    end_ns: int
    worker_cpu_s: float
    connections_opened: int
    stopped_early: bool
    ceiling_per_s: float | None
    over_saturated: bool
    rates: tuple[tuple[float, float], ...] = ()
    """The rate curve of open arrivals, as points (seconds from `start_ns`, requests a second) joined by lines; the
    first and last rate hold beyond them."""
    cv: float = 1.0
    """Coefficient of variation of the gaps of gamma arrivals."""
    concurrency: int | None = None
    """Clients of a closed loop."""
    think_s: float = 0.0
    """Mean pause of a closed loop's client between an answer and its next request."""
    sessions: bool = False
    """An arrival starts a session whose further requests follow its answers: the rates are of sessions."""
    lead_in_s: float = 0.0
    """Arrivals before `start_ns`, which are in the rows and in no number."""
    rows_per_request: int = 1
    """Rows of a labelled data set in one request: what `right` of a row of facts is counted out of."""
    chunk_ceiling_per_s: float | None = None
    workers: tuple[WorkerFacts, ...] = ()
    """What each of several load workers did; empty where there was one."""
    worker_waited_s: float | None = None
    """As WorkerFacts has it, of the worker that waited longest."""
    ceiling_is_at_least: bool = False
    """One of the ceilings is a lower bound: nothing that was tried above it failed by the generator."""
    lengths_asked: bool = False
    """The profile says how long answers are to be, in tokens; a limit that keeps them from running on says nothing."""
    error_samples: tuple[ErrorSample, ...] = ()
    """Of each class of errors the first."""
    target_ended: str | None = None
    """Which process of the target, started by the run, had ended by the end of the stage, and how."""
    extended_s: float = 0.0
    """Of `duration_s`, what the user added while the stage ran."""
