"""Copies of golden runs, each with one truncated file or one flipped bit, opened one after the other in this process.

`python -m tests.fakes.damaged_runs FOLDER` prints one JSON line per copy, so that a crash of the process shows as a
missing line."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import SizewiseError
from app.records.result import Result
from app.reporting.opened import OpenedRun, load_run
from app.storage.names import CHECKSUMS, DATA_FILES, JOURNAL, OUTPUTS
from app.storage.run_directory import StoredRun
from tests.fakes.golden_runs import golden_run
from tests.fakes.journaled_runs import journaled_run

SEALED = {"local": 187, "llm": 12, "search": 1}
"""Number of copies of each run per kind of damage; the smallest run is opened in the shortest time."""
OF_KILLED = 6
"""Number of copies, per kind of damage, of the killed run of version 0.1.0, which has no checksums."""
OF_JOURNALED = 20
"""Number of copies, per kind of damage, of the same run with a checksum for each append."""
DATA = 0.9
"""Share of the copies whose measured data is damaged; the others have damaged reports."""
SEED = 20261128

Damage = Literal["flip", "cut"]
Outcome = Literal["same", "killed earlier", "DAMAGED", "refused", "other"]


class Case(msgspec.Struct, frozen=True):
    """The outcomes of opening one copy: as it is, with `--recover`, and reading its rows as in a notebook."""

    run: str
    damage: Damage
    path: str
    at: int
    as_is: Outcome
    recovered: Outcome
    rows: Outcome
    reason: str


def cases(folder: Path) -> Iterator[Case]:
    originals = {name: golden_run(name, folder) for name in (*SEALED, "killed")} | {"journaled": journaled_run(folder)}
    numbers = {
        name: _numbers(_opened(path, recover=name not in SEALED).result, name) for name, path in originals.items()
    }
    rng = random.Random(SEED)
    sorts: tuple[Damage, ...] = ("flip", "cut")
    for sort in sorts:
        names = [
            name
            for name, count in {**SEALED, "killed": OF_KILLED, "journaled": OF_JOURNALED}.items()
            for _ in range(count)
        ]
        for number, name in enumerate(names):
            yield _case(folder / f"{sort}-{number}", originals[name], sort, numbers[name], rng)


def _case(copy: Path, original: Path, sort: Damage, numbers: tuple[bytes, ...], rng: random.Random) -> Case:
    paths = sorted(path.relative_to(original) for path in original.rglob("*") if path.is_file() and path.stat().st_size)
    data = [path for path in paths if path.name in (*DATA_FILES, CHECKSUMS, JOURNAL) or path.parent.name == OUTPUTS]
    chosen = rng.choice(data if rng.random() < DATA else paths)
    for path in paths:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        if path != chosen:
            (copy / path).symlink_to(original / path)
    content = bytearray((original / chosen).read_bytes())
    at = rng.randrange(len(content))
    if sort == "cut":
        del content[at:]
    else:
        content[at] ^= 1 << rng.randrange(8)
    (copy / chosen).write_bytes(content)
    opened, reason = _outcome(copy, original.name, numbers, recover=False)
    recovered = opened if opened == "same" else _outcome(copy, original.name, numbers, recover=True)[0]
    rows = _read_rows(copy) if chosen.suffix == ".arrow" else "same"
    return Case(original.name, sort, str(chosen), at, opened, recovered, rows, reason)


def _outcome(copy: Path, run: str, numbers: tuple[bytes, ...], *, recover: bool) -> tuple[Outcome, str]:
    try:
        result = _opened(copy, recover=recover).result
    except SizewiseError as error:
        return "refused", str(error)
    if any(reason.startswith("DAMAGED") for reason in result.verdict.reasons):
        return "DAMAGED", result.verdict.reasons[0]
    entries = _numbers(result, run)
    if entries == numbers:
        return "same", ""
    is_killed_earlier = recover and 0 < len(entries) < len(numbers) and entries == numbers[: len(entries)]
    return ("killed earlier" if is_killed_earlier else "other"), ""


def _opened(directory: Path, *, recover: bool) -> OpenedRun:
    return load_run(StoredRun(directory), recover=recover)


def _numbers(result: Result, run: str) -> tuple[bytes, ...]:
    """One entry per stage, and one for the rest of a finished run. The telemetry of the killed run of version 0.1.0 is
    left out: it has no checksum."""
    if run == "journaled":
        return tuple(msgspec.json.encode(stage) for stage in result.stages if not stage.is_pooled)
    if result.profile_hash:
        run_entries = (result.max_rate, result.slo, result.gates, result.local, result.exit)
        return (msgspec.json.encode(run_entries), *map(msgspec.json.encode, result.stages))
    reported = ("latency_ms", "service_ms", "first_byte_ms", "error_rate", "completed_per_s", "goodput_share")
    shown = [
        (
            stage.name,
            stage.completed,
            stage.errors,
            stage.achieved_per_s,
            [(name, stage.metrics.get(name)) for name in reported],
        )
        for stage in result.stages
        if not stage.is_pooled
    ]
    return tuple(map(msgspec.json.encode, shown))


def _read_rows(copy: Path) -> Outcome:
    run = StoredRun(copy)
    try:
        run.requests().to_pandas()
        run.calls().to_pandas()
        run.telemetry().to_pandas()
    except SizewiseError:
        return "refused"
    return "same"


def main() -> None:
    for case in cases(Path(sys.argv[1])):
        sys.stdout.buffer.write(msgspec.json.encode(case) + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
