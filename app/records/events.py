"""What a run tells while it goes on: one JSON line each, in `events.jsonl` and for `--events -`."""

from __future__ import annotations

import msgspec

from app.records.calls import CallStage
from app.records.comparison import Side
from app.records.local import VariantFacts
from app.records.result import SCHEMA, Check, ErrorSample, Objective, Stage, Trust, Variant
from app.records.stage import StageFacts


class RunStarted(msgspec.Struct, frozen=True, tag="run_started"):
    at_ns: int
    run_id: str
    name: str
    directory: str
    pid: int
    slo: tuple[Objective, ...] = ()
    schema: int = SCHEMA
    """That of the run's `result.json`; schema 1 did not write it."""


class PhaseChanged(msgspec.Struct, frozen=True, tag="phase"):
    """`phase`: doctor, model, idle, reference, cold start, endpoint, start, workers, preflight, calibrate, warmup,
    stages, search, report.

    Of the phase `stages`: how many there will be at most, and how long they will take. None where nobody can say, since
    a search follows.
    """

    at_ns: int
    phase: str
    message: str
    stages: int | None = None
    stages_s: float | None = None


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    """`start_ns` is where the measured part begins, `lead_in_s` after the first arrival. `offered_per_s` is None where
    the rate varies and in a closed loop, which has its clients in `concurrency`. `index` is below 0 of what is measured
    before the run's own stages, the model alone; such a stage has no StageFinished."""

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


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """At most four a second; counts are of the running stage, percentiles of its recent requests.

    `good` were answered inside every SLO; None where that cannot be told. `errors` are by class. Both are counted from
    rows, which may come a little after the other counts.
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
    """How late requests were sent."""
    good: int | None = None
    errors: dict[str, int] = {}


class ErrorSeen(msgspec.Struct, frozen=True, tag="error_seen"):
    """The first of its class in the run; told once, about when the first Snapshot counts it."""

    at_ns: int
    stage: int
    sample: ErrorSample


class StageFinished(msgspec.Struct, frozen=True, tag="stage_finished"):
    """`stage` lacks the telemetry still on its way; `result.json` has it whole."""

    at_ns: int
    index: int
    facts: StageFacts
    stage: Stage


class CheckCompleted(msgspec.Struct, frozen=True, tag="checked"):
    at_ns: int
    check: Check


class RateResolved(msgspec.Struct, frozen=True, tag="rate_resolved"):
    """A stage whose rate was a share of what an earlier one completed: its highest rate, now known."""

    at_ns: int
    stage: str
    rate_per_s: float
    message: str


class RateChanged(msgspec.Struct, frozen=True, tag="rate_changed"):
    """By the user, while stage `index` ran."""

    at_ns: int
    index: int
    rate_per_s: float


class StageExtended(msgspec.Struct, frozen=True, tag="stage_extended"):
    """By the user, while stage `index` ran: by `by_s`, to `duration_s` from its start."""

    at_ns: int
    index: int
    by_s: float
    duration_s: float


class Noted(msgspec.Struct, frozen=True, tag="noted"):
    """By the user, while the run went on."""

    at_ns: int
    text: str


class ColdStarted(msgspec.Struct, frozen=True, tag="cold_started"):
    """The target was started or woken for this run; steady state is not reached yet."""

    at_ns: int
    ready_ms: float | None
    first_answer_ms: float | None


class VariantStarted(msgspec.Struct, frozen=True, tag="variant_started"):
    """Of a local run: the `number`-th of `total`, from 1."""

    at_ns: int
    number: int
    total: int
    variant: Variant


class CallsFinished(msgspec.Struct, frozen=True, tag="calls_finished"):
    """One scenario of a variant. `stage` lacks what is read of the machine; `result.json` has it whole."""

    at_ns: int
    facts: CallStage
    stage: Stage


class VariantFinished(msgspec.Struct, frozen=True, tag="variant_finished"):
    """`facts` lack what only the whole run tells: accuracy beside the reference's, what limits it."""

    at_ns: int
    number: int
    facts: VariantFacts


class PairRunEvent(msgspec.Struct, frozen=True):
    """An event of a comparison that measures two profiles in turns, about the run of one side of the `pair`-th pair."""

    at_ns: int
    pair: int
    side: Side
    directory: str
    """Of that run."""


class TurnStarted(PairRunEvent, frozen=True, tag="turn_started"):
    """The run has started."""

    pairs: int
    """Planned number of pairs; a suspected change adds some."""


class TurnFinished(PairRunEvent, frozen=True, tag="turn_finished"):
    """The run was measured. An INVALID one is made again."""

    status: Trust


class RunFinished(msgspec.Struct, frozen=True, tag="run_finished"):
    """`causes` say why the exit code is not 0, or what else to know of the end; the deciding one is first."""

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
    | ErrorSeen
    | StageFinished
    | CheckCompleted
    | RateResolved
    | RateChanged
    | StageExtended
    | Noted
    | ColdStarted
    | VariantStarted
    | CallsFinished
    | VariantFinished
    | TurnStarted
    | TurnFinished
    | RunFinished
)
