"""Events of a run in progress, one JSON line per event, in `events.jsonl` and on standard output
with `--events -`."""

from __future__ import annotations

import msgspec

from app.records.calls import CallStage
from app.records.comparison import Side
from app.records.local import VariantData
from app.records.result import SCHEMA, Check, ErrorSample, Objective, Stage, Validity, Variant
from app.records.stage import StageData
from app.records.stage_kinds import StageKind, format_stage_label


class RunStarted(msgspec.Struct, frozen=True, tag="run_started"):
    at_ns: int
    run_id: str
    name: str
    directory: str
    pid: int
    slo: tuple[Objective, ...] = ()
    schema: int = SCHEMA
    """Schema number of the run's `result.json`. Runs of schema 1 do not contain this field."""
    is_local: bool = False
    """True if the run measures a model on this machine, and sends no requests."""
    started_at: str | None = None
    """Wall-clock time with time zone at the start of the run, ISO 8601; None for a run of an older
    version."""


class PhaseChanged(msgspec.Struct, frozen=True, tag="phase_changed"):
    """Start of a phase: doctor, model, idle, reference, cold start, endpoint, start, workers,
    preflight, calibrate, warmup, stages, search, report.

    In the phase `stages`, the field `stages` is the maximum number of stages and `stages_s` their
    total duration in s. Both fields are None if a search follows, because they are then unknown.
    """

    at_ns: int
    phase: str
    message: str
    stages: int | None = None
    stages_s: float | None = None


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    """Start of a stage. `start_ns` is the start of the measurement window, `lead_in_s` seconds
    after the first arrival. A stage with `requests` ends after that many requests, or after
    `duration_s`.

    `offered_per_s` is None if the rate varies or the loop is closed; in a closed loop,
    `concurrency` is the number of clients. `index` is negative for a stage that is measured before
    the stages of the profile, such as the standalone model; no StageFinished follows for such a
    stage.
    """

    at_ns: int
    index: int
    name: str
    kind: StageKind
    repeat: int
    offered_per_s: float | None
    duration_s: float
    start_ns: int
    concurrency: int | None = None
    lead_in_s: float = 0.0
    has_load_in_name: bool = False
    """True if the stage name contains the rate or the number of clients, so that the load need not
    be shown next to the name."""
    requests: int | None = None
    test: str | None = None
    """Name of the test of a local language model, such as `tg128 @ d512`; None for other stages."""

    @property
    def label(self) -> str:
        """Display name, as `Stage.label`."""
        return format_stage_label(self.name, self.repeat)


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """Progress of the running stage, emitted at most four times per second. Counts cover the whole
    stage; percentiles cover only its recent requests.

    `good` counts responses within the SLO limits on individual responses; None if unknown. `errors`
    counts failures by error class. `output_tokens` counts the tokens of successful responses; None
    if no response has tokens. These counts, TTFT and TPOT are computed from rows, which may arrive
    slightly later than the other counts. TTFT and TPOT are None unless responses are streamed.

    In a test of a local language model, the calls are steps, and TTFT, ITL and the rates of prefill
    and decode cover the steps of the last second; they are None for what the test does not do.
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
    """p99 send lag in ms. The send lag of a request is the time from its scheduled start to its
    send."""
    good: int | None = None
    errors: dict[str, int] = {}
    ttft_p50_ms: float | None = None
    ttft_p95_ms: float | None = None
    ttft_p99_ms: float | None = None
    tpot_p50_ms: float | None = None
    tpot_p95_ms: float | None = None
    tpot_p99_ms: float | None = None
    output_tokens: int | None = None
    itl_p50_ms: float | None = None
    itl_p95_ms: float | None = None
    itl_p99_ms: float | None = None
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None


class ErrorReported(msgspec.Struct, frozen=True, tag="error_reported"):
    """First error of an error class in the run; emitted once, at about the time of the first
    Snapshot that counts the error."""

    at_ns: int
    stage: int
    sample: ErrorSample


class StageFinished(msgspec.Struct, frozen=True, tag="stage_finished"):
    """End of a stage. `stage` may lack late telemetry; `result.json` contains the complete
    stage."""

    at_ns: int
    index: int
    data: StageData
    stage: Stage


class CheckCompleted(msgspec.Struct, frozen=True, tag="check_completed"):
    at_ns: int
    check: Check


class RateResolved(msgspec.Struct, frozen=True, tag="rate_resolved"):
    """Resolved rate of a stage whose rate is relative to the completion rate of an earlier stage.
    The event is emitted as soon as the rate is known; if the rate varies, `rate_per_s` is the
    highest rate."""

    at_ns: int
    stage: str
    rate_per_s: float
    message: str


class RateChanged(msgspec.Struct, frozen=True, tag="rate_changed"):
    """Change of the arrival rate by the user while the stage `index` was running."""

    at_ns: int
    index: int
    rate_per_s: float


class StageExtended(msgspec.Struct, frozen=True, tag="stage_extended"):
    """Extension of the running stage `index` by the user. The stage is extended by `by_s` seconds;
    `duration_s` is the new total duration from the start of the stage."""

    at_ns: int
    index: int
    by_s: float
    duration_s: float


class NoteAdded(msgspec.Struct, frozen=True, tag="note_added"):
    """Note added by the user during the run."""

    at_ns: int
    text: str


class TargetReady(msgspec.Struct, frozen=True, tag="target_ready"):
    """End of the target's cold start for this run, from zero replicas or from sleep. The target has
    not reached its steady state yet."""

    at_ns: int
    ready_ms: float | None
    first_response_ms: float | None


class VariantStarted(msgspec.Struct, frozen=True, tag="variant_started"):
    """Start of a variant of a local run. `number` counts the variants from 1 to `total`."""

    at_ns: int
    number: int
    total: int
    variant: Variant
    name: str = ""
    """Settings in which the variant differs from the others of the run, such as `int4, 2 threads`."""
    tests: tuple[str, ...] = ()
    """Names of the tests of a language model, in the order in which they are measured; empty for
    other models."""


class CallsFinished(msgspec.Struct, frozen=True, tag="calls_finished"):
    """End of one scenario of a variant. `stage` lacks machine telemetry; `result.json` contains the
    complete stage."""

    at_ns: int
    data: CallStage
    stage: Stage


class VariantFinished(msgspec.Struct, frozen=True, tag="variant_finished"):
    """End of a variant. `data` lacks the values that depend on the whole run: accuracy relative to
    the reference, and the bottleneck."""

    at_ns: int
    number: int
    data: VariantData


class PairRunEvent(msgspec.Struct, frozen=True):
    """Event of an A/B comparison of two profiles by interleaved runs. The event is about the run of
    `side` in the pair with number `pair`."""

    at_ns: int
    pair: int
    side: Side
    directory: str
    """Directory of the run that the event is about."""


class PairRunStarted(PairRunEvent, frozen=True, tag="pair_run_started"):
    """Start of one run of an A/B pair."""

    pairs: int
    """Planned number of A/B pairs. Pairs are added if a regression or improvement is suspected."""


class PairRunFinished(PairRunEvent, frozen=True, tag="pair_run_finished"):
    """End of one run of an A/B pair. A run with `status` INVALID is repeated."""

    status: Validity


class RunFinished(msgspec.Struct, frozen=True, tag="run_finished"):
    """End of the run. `causes` lists the causes of the exit code, the deciding cause first, and
    further remarks on the end of the run."""

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
