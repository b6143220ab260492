"""Run directories as the engine writes them, made by a whole session in virtual time: no process, no waiting."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.records.events import Event, RunFinished, RunStarted
from app.records.result import Artifact, Result
from app.session.interruption import Interruption
from app.session.run import run
from app.session.spec import RunSpec, StageSpec
from app.storage.control import CONTROL
from app.storage.names import CHECKSUMS, JOURNAL
from app.storage.names import SPEC as PROFILE
from app.storage.run_directory import (
    ENVIRONMENT,
    EVENTS,
    REQUESTS,
    RESULT,
    TELEMETRY,
    RunWriter,
    StoredRun,
)
from loadgen.records import StageLoad
from tests.fakes.bench import SEARCH, SERVICE_S, SPEC, poisson
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.session_dependencies import fake_dependencies

STAGES = msgspec.structs.replace(
    SPEC,
    name="three stages",
    stages=(
        StageSpec("low", "steady", StageLoad(poisson(50.0), 20.0)),
        StageSpec("middle", "steady", StageLoad(poisson(120.0), 20.0)),
        StageSpec("high", "steady", StageLoad(poisson(230.0), 20.0)),
    ),
)
DAY = msgspec.structs.replace(
    SPEC,
    name="a day",
    stages=tuple(
        StageSpec(
            f"hour {hour}", "steady", StageLoad(poisson(round(30 + 70 * math.sin(math.pi * hour / 24) ** 2)), 1.0)
        )
        for hour in range(24)
    ),
)
"""A run with too many stages for a headline of one of them; each is too short for the percentiles of the SLO."""
SEARCHED = msgspec.structs.replace(SEARCH, name="searched")


def stored_run(directory: Path, spec: RunSpec = STAGES, load: ScriptedLoad | None = None, **parts: Any) -> StoredRun:
    """A run against a server of 250 req/s, or with `load`, which must use `parts["clock"]`."""
    clock = parts.pop("clock", None) or FakeClock()
    with RunWriter(directory) as store:
        store.append_event(RunStarted(clock.now_ns, spec.run_id, spec.name, str(directory), 1))
        store.write_spec(_spec_text(spec))
        load = load or ScriptedLoad(clock, service_s=SERVICE_S)
        outcome = run(spec, fake_dependencies(clock, load, store, **parts), store.append_event, Interruption())
        code = outcome.result.exit.code
        store.append_event(RunFinished(clock.now_ns, outcome.result.verdict.status, code))
    return StoredRun(directory)


def truncate_run(run: StoredRun, stages: int) -> StoredRun:
    """Truncate the run as if the engine had been killed in the stage after `stages` stages."""
    lines = (run.directory / EVENTS).read_bytes().splitlines(keepends=True)
    ends = [place for place, line in enumerate(lines) if b'"stage_finished"' in line]
    (run.directory / EVENTS).write_bytes(b"".join(lines[: ends[stages] - 1]))
    (run.directory / RESULT).unlink()
    rewrite_journal(run.directory)
    return run


def unfinished_run(directory: Path, pid: int, name: str = "going on", events: Sequence[Event] = ()) -> Path:
    """A run whose engine has not ended, or was killed if no process has that ID."""
    with RunWriter(directory) as store:
        store.append_event(RunStarted(1_000_000_000, directory.name, name, str(directory), pid))
        for event in events:
            store.append_event(event)
    (directory / CONTROL).mkdir()
    return directory


def _spec_text(spec: RunSpec) -> str:
    lines = "".join(f"- {objective.text}\n" for objective in spec.slo)
    return (
        f"sizewise: 1\nname: {spec.name}\nload:\n  seed: {spec.seed}\n  stages:\n  - arrivals: poisson\nslo:\n{lines}"
    )


def rewrite_journal(directory: Path) -> None:
    """Rewrite the journal after files of a run were truncated or removed, as if the engine had not written the missing
    data."""
    lines = (directory / JOURNAL).read_bytes().splitlines(keepends=True)
    (directory / JOURNAL).write_bytes(b"".join(line for line in lines if _is_there(directory, line)))


def _is_there(directory: Path, line: bytes) -> bool:
    _, end, name = line.decode().split()
    return (directory / name).exists() and (directory / name).stat().st_size >= int(end)


def reseal_run(directory: Path) -> None:
    """Rewrite the checksums after a file of a stored run was changed, as if the run had ended with that file."""
    for name in (CHECKSUMS, JOURNAL):
        (directory / name).unlink(missing_ok=True)
    path = directory / RESULT
    result = msgspec.json.decode(path.read_bytes(), type=Result)
    names = [name for name in (PROFILE, ENVIRONMENT, REQUESTS, TELEMETRY) if (directory / name).exists()]
    sums = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}
    artifacts = tuple(Artifact(name, checksum) for name, checksum in sums.items())
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(result, artifacts=artifacts)))
