"""What a run tells while it goes on: one JSON line each, in `events.jsonl` and for `--events -`."""

from __future__ import annotations

import msgspec

from app.records.result import Check, Stage
from app.records.stage import StageFacts


class RunStarted(msgspec.Struct, frozen=True, tag="run_started"):
    at_ns: int
    run_id: str
    name: str
    directory: str
    pid: int


class PhaseChanged(msgspec.Struct, frozen=True, tag="phase"):
    """`phase`: doctor, model, endpoint, preflight, calibrate, warmup, stages, search, report."""

    at_ns: int
    phase: str
    message: str


class StageStarted(msgspec.Struct, frozen=True, tag="stage_started"):
    at_ns: int
    index: int
    name: str
    kind: str
    repeat: int
    offered_per_s: float
    duration_s: float
    start_ns: int


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """At most four a second; counts are of the running stage."""

    at_ns: int
    stage: int
    offered: int
    sent: int
    completed: int
    failed: int
    in_flight: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class StageFinished(msgspec.Struct, frozen=True, tag="stage_finished"):
    """`stage` lacks the telemetry still on its way; `result.json` has it whole."""

    at_ns: int
    index: int
    facts: StageFacts
    stage: Stage


class Checked(msgspec.Struct, frozen=True, tag="checked"):
    at_ns: int
    check: Check


class RunFinished(msgspec.Struct, frozen=True, tag="run_finished"):
    at_ns: int
    status: str
    exit_code: int
    message: str


Event = RunStarted | PhaseChanged | StageStarted | Snapshot | StageFinished | Checked | RunFinished
