"""Events and telemetry of a run in progress, for the code that follows it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from app.analysis.objectives import parse_objective
from app.records.events import Event, PhaseChanged, RunFinished, RunStarted, Snapshot, StageFinished, StageStarted
from app.records.result import Check, StageKind, Verdict
from app.records.telemetry import TELEMETRY_SCHEMA
from app.storage.run_directory import EVENTS, TELEMETRY
from app.storage.streams import StreamWriter
from tests.fakes.queues import build_stage_data
from tests.fakes.results import full_run

S = 1_000_000_000
ZERO_NS = 1_000 * S
ENDED_PID = 2**22 + 1
"""A process ID that no Linux and no macOS assigns."""
SLO = (parse_objective("latency_ms.p95 < 50"),)
VALID = Check("send_lag_p99", 0.2, 5.0, "ms", "VALID")
INVALID = Check("send_lag_p99", 80.0, 5.0, "ms", "INVALID", "The generator was late: stop other work.")


def at(seconds: float) -> int:
    return ZERO_NS + round(seconds * S)


def run_started(directory: Path | str = "/run", pid: int = ENDED_PID) -> RunStarted:
    return RunStarted(ZERO_NS, "id", "watched", str(directory), pid, SLO)


def stage_started(
    index: int, at_s: float, *, kind: StageKind = "steady", duration_s: float = 10.0, name: str = ""
) -> StageStarted:
    return StageStarted(at(at_s), index, name or f"stage {index}", kind, 1, 100.0, duration_s, at(at_s))


def snapshot(
    index: int, at_s: float, since_s: float, per_s: float = 100.0, errors: dict[str, int] | None = None
) -> Snapshot:
    completed = round((at_s - since_s) * per_s)
    wave = 1 + 0.3 * math.sin(at_s / 7)
    failed = sum((errors or {}).values())
    return Snapshot(
        at(at_s),
        index,
        completed,
        completed,
        completed - failed,
        failed,
        3,
        5 * wave,
        9 * wave,
        12 * wave,
        0.3,
        completed - failed,
        errors or {},
    )


def stage_finished(
    index: int, at_s: float, check: Check = VALID, *, kind: StageKind = "steady", is_slo_met: bool | None = True,
    errors: dict[str, int] | None = None, name: str = "",
) -> StageFinished:  # fmt: skip
    stage = replace(
        full_run().result.stages[0],
        name=name or f"stage {index}",
        kind=kind,
        repeat=1,
        checks=(check,),
        verdict=Verdict(check.verdict),
        meets_slo=is_slo_met,
        errors=errors or {},
    )
    return StageFinished(at(at_s), index, build_stage_data(), stage)


def run_finished(at_s: float, code: int = 0, message: str = "") -> RunFinished:
    return RunFinished(at(at_s), "VALID", code, (message,) if message else ())


def whole_run(stages: int = 3, duration_s: float = 10.0, *, every_s: float = 0.25) -> Iterator[Event]:
    yield run_started()
    yield PhaseChanged(at(0.5), "stages", f"{stages} stage(s)", stages, stages * duration_s)
    for index in range(stages):
        since_s = 1 + index * duration_s
        yield stage_started(index, since_s, duration_s=duration_s)
        for number in range(1, int(duration_s / every_s)):
            yield snapshot(index, since_s + number * every_s, since_s)
        yield stage_finished(index, since_s + duration_s)
    yield run_finished(2 + stages * duration_s)


def write_events(directory: Path, events: Iterable[Event]) -> int:
    """Append the events, and return their number."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = [msgspec.json.encode(event) + b"\n" for event in events]
    with (directory / EVENTS).open("ab") as file:
        file.writelines(lines)
    return len(lines)


def readings(at_s: float, rows: Iterable[tuple[str, str, float | None]]) -> pa.RecordBatch:
    """Readings of one moment."""
    sources, metrics, values = zip(*rows, strict=True)
    columns = [[at(at_s)] * len(sources), list(sources), list(metrics), list(values)]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, TELEMETRY_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=TELEMETRY_SCHEMA)


def second_of_host(second: int) -> pa.RecordBatch:
    """Ten readings of the host and its processes."""
    metrics = [("host", "host_cpu_percent"), ("host", "host_memory_gib")]
    metrics += [
        (one, f"{one}_{what}") for one in ("endpoint", "generator", "engine") for what in ("cpu_cores", "memory_gib")
    ]
    times = np.repeat(at(second) + np.arange(10) * (S // 10), len(metrics))
    columns = [
        pa.array(times),
        pa.array([source for source, _ in metrics] * 10),
        pa.array([metric for _, metric in metrics] * 10),
        pa.array(50 + 20 * np.sin(times / S / 11)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TELEMETRY_SCHEMA)


def write_telemetry(directory: Path, batches: Iterable[pa.RecordBatch]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with StreamWriter(directory / TELEMETRY, TELEMETRY_SCHEMA) as writer:
        for batch in batches:
            writer.append(batch)
