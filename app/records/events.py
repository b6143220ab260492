"""Events of a running run: one JSON line each, in `events.jsonl` and for `--events -`."""

from __future__ import annotations

import msgspec

from app.records.calls import CallStage
from app.records.comparison import Side
from app.records.local import VariantData
from app.records.result import SCHEMA, Check, ErrorSample, Objective, Stage, Validity, Variant
from app.records.stage import StageData


class RunStarted(msgspec.Struct, frozen=True, tag="run_started"):
    at_ns: int
    run_id: str
    name: str
    directory: str
    pid: int
    slo: tuple[Objective, ...] = ()
    schema: int = SCHEMA
    """Schema of the run's `result.json`; schema 1 did not write it."""


class PhaseChanged(msgspec.Struct, frozen=True, tag="phase_changed"):
    """Start of a phase: doctor, model, idle, reference, cold start, endpoint, start, workers, preflight, calibrate,
    warmup, stages, search, report.

    The phase `stages` reports the maximum number of stages and their duration. Both are None if unknown, because a
    search follows.
    """

    at_ns: int
    phase: str
    message: str
    stages: int | None = None
    stages_s: float | None = None


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    """Start of a stage. `start_ns` is the start of the measurement, `lead_in_s` after the first arrival.
    `offered_per_s` is None if the rate varies and in a closed loop, which has its number of clients in `concurrency`.
    `index` is negative for stages measured before the run's own, such as the standalone model; such a stage has no
    StageFinished."""

    at_ns: int
    index: int
    name: str
    kind: str
    repeat: int
    offered_per_s: float | None
    duration_s: float
    start_ns: int
    concurrency: int | None = None
    lead_in_s: float = 0.0
    has_load_in_name: bool = False
    """True if the name contains the rate or the number of clients, which is then not shown beside the name."""


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """Progress of the running stage, at most four per second; counts are of the stage, percentiles of its recent
    requests.

    `good` counts requests within every SLO; None if it cannot be computed. `errors` are counted by class. Both are
    counted from rows, which may arrive slightly later than the other counts.
    """

    at_ns: int
    stage: int
    offered: int
    sent: int
    completed: int
    failed: int
    in_flight: int | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None = None
    lag_p99_ms: float | None = None
    """How late requests were sent, 99th percentile in ms."""
    good: int | None = None
    errors: dict[str, int] = {}


class ErrorReported(msgspec.Struct, frozen=True, tag="error_reported"):
    """First error of its class in the run; sent once, at about the time when the first Snapshot counts it."""

    at_ns: int
    stage: int
    sample: ErrorSample


class StageFinished(msgspec.Struct, frozen=True, tag="stage_finished"):
    """End of a stage. `stage` lacks telemetry that is still to arrive; `result.json` has the complete stage."""

    at_ns: int
    index: int
    data: StageData
    stage: Stage


class CheckCompleted(msgspec.Struct, frozen=True, tag="check_completed"):
    at_ns: int
    check: Check


class RateResolved(msgspec.Struct, frozen=True, tag="rate_resolved"):
    """Highest rate of a stage whose rate is a share of what an earlier one completed, now known."""

    at_ns: int
    stage: str
    rate_per_s: float
    message: str


class RateChanged(msgspec.Struct, frozen=True, tag="rate_changed"):
    """Rate change by the user while stage `index` ran."""

    at_ns: int
    index: int
    rate_per_s: float


class StageExtended(msgspec.Struct, frozen=True, tag="stage_extended"):
    """Extension of the running stage `index` by the user, by `by_s` to `duration_s` from its start."""

    at_ns: int
    index: int
    by_s: float
    duration_s: float


class NoteAdded(msgspec.Struct, frozen=True, tag="note_added"):
    """Note added by the user during the run."""

    at_ns: int
    text: str


class TargetReady(msgspec.Struct, frozen=True, tag="target_ready"):
    """Start or wake-up of the target for this run; it has not reached its steady state yet."""

    at_ns: int
    ready_ms: float | None
    first_response_ms: float | None


class VariantStarted(msgspec.Struct, frozen=True, tag="variant_started"):
    """Start of a variant of a local run, the `number`-th of `total`, from 1."""

    at_ns: int
    number: int
    total: int
    variant: Variant


class CallsFinished(msgspec.Struct, frozen=True, tag="calls_finished"):
    """End of one scenario of a variant. `stage` lacks machine telemetry; `result.json` has the complete stage."""

    at_ns: int
    data: CallStage
    stage: Stage


class VariantFinished(msgspec.Struct, frozen=True, tag="variant_finished"):
    """End of a variant. `data` lack values that need the whole run: accuracy beside the reference's, and the
    bottleneck."""

    at_ns: int
    number: int
    data: VariantData


class PairRunEvent(msgspec.Struct, frozen=True):
    """Event of a comparison that measures two profiles in interleaved runs, about the run of one side of the `pair`-th
    pair."""

    at_ns: int
    pair: int
    side: Side
    directory: str
    """Directory of that run."""


class PairRunStarted(PairRunEvent, frozen=True, tag="pair_run_started"):
    """Start of one run of a pair."""

    pairs: int
    """Planned number of pairs; a suspected change adds some."""


class PairRunFinished(PairRunEvent, frozen=True, tag="pair_run_finished"):
    """End of one run of a pair. An INVALID one is repeated."""

    status: Validity


class RunFinished(msgspec.Struct, frozen=True, tag="run_finished"):
    """End of the run. `causes` explain why the exit code is not 0, and other properties of the end; the deciding one is
    first."""

    at_ns: int
    status: str
    exit_code: int
    causes: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        return "; ".join(self.causes)


Event = (
    RunStarted
    | PhaseChanged
    | StageStarted
    | Snapshot
    | ErrorReported
    | StageFinished
    | CheckCompleted
    | RateResolved
    | RateChanged
    | StageExtended
    | NoteAdded
    | TargetReady
    | VariantStarted
    | CallsFinished
    | VariantFinished
    | PairRunStarted
    | PairRunFinished
    | RunFinished
)
