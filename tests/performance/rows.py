"""CPU cost of rows from the load worker to the result: `python -m tests.performance.rows [--rows N]`.

A child ships plain rows as a load worker does, in batches of 500; the engine is the real session, its store, its
result and its report, on a clock of its own. Takes a minute with 10 million rows.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import msgspec
import pyarrow as pa

from app.reporting.report import build_report
from app.reporting.rows import UNUSED_COLUMNS
from app.session.interruption import Interruption
from app.session.run import run
from app.session.spec import LimitSpec, StageSpec
from app.storage.run_directory import REQUESTS, RunWriter, StoredRun
from loadgen.child import start_module
from loadgen.frames import encode_message_frame, read_report
from loadgen.records import Progress, RunStage, StageEnded, StageLoad, StagePlan, StageStarted
from reports.html import render_html
from tests.fakes.bench import SPEC, poisson
from tests.fakes.clock import FakeClock
from tests.fakes.load import ScriptedLoad
from tests.fakes.session_dependencies import fake_dependencies

ROWS = 10_000_000
RATE_PER_S = 10_000.0


class PipedLoad(ScriptedLoad):
    """Rows that come through a pipe."""

    def __init__(self, clock: FakeClock, pipes: tuple[BinaryIO, BinaryIO]) -> None:
        super().__init__(clock)
        self._to_child, self._from_child = pipes
        self.worker_s = self.engine_s = self.ended_s = 0.0

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        self._to_child.write(encode_message_frame(RunStage(plan)))
        self._to_child.flush()
        before_s = time.process_time()
        while (report := read_report(self._from_child)) is not None:
            match report:
                case pa.RecordBatch() as rows:
                    on_rows(rows)
                case StageStarted() as started:
                    on_started(started)
                case Progress() as progress:
                    self._clock.now_ns = progress.at_ns
                    on_progress(progress)
                case StageEnded() as ended:
                    self._clock.now_ns = ended.end_ns
                    self.worker_s, self.engine_s = ended.cpu_s, time.process_time() - before_s
                    self.ended_s = time.perf_counter()
                    return msgspec.structs.replace(ended, cpu_s=0.1)
        raise RuntimeError("the child process exited")


@contextlib.contextmanager
def child() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    process = start_module("tests.performance.rows_worker", stdout=-1)
    stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    try:
        yield cast(BinaryIO, stdin), cast(BinaryIO, stdout)
    finally:
        stdin.close()
        process.wait(10)
        stdout.close()


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(rows: int, directory: Path) -> None:
    clock = FakeClock(time.perf_counter_ns())
    stage = StageSpec("plain", "steady", StageLoad(poisson(RATE_PER_S), rows / RATE_PER_S))
    spec = msgspec.structs.replace(SPEC, stages=(stage,), limits=LimitSpec(requests=rows))
    print(f"before: peak {peak_gib():.2f} GiB")
    with child() as pipes, RunWriter(directory) as store:
        load = PipedLoad(clock, pipes)
        outcome = run(spec, fake_dependencies(clock, load, store), lambda _: None, Interruption())
        result_s = time.perf_counter() - load.ended_s
        (measured,) = outcome.result.stages
        size_gib = (directory / REQUESTS).stat().st_size / 2**30
        print(f"worker: {1e6 * load.worker_s / rows:.2f} µs a row    must: ≤ 1")
        print(f"engine: {1e6 * load.engine_s / rows:.2f} µs a row    must: ≤ 1")
        print(f"result: {result_s:.1f} s, peak {peak_gib():.2f} GiB    must: ≤ 10 s, < 2 GiB with 10 M rows")
        print(f"{measured.completed:,} answers, {measured.errors}, {size_gib:.2f} GiB on disk")
        before_s = time.perf_counter()
        columns = StoredRun(directory).requests(UNUSED_COLUMNS)
        report = build_report(outcome.result, columns, outcome.telemetry, "", "", outcome.result_text)
        store.write_file("report.html", render_html(report).encode())
        print(f"report: {time.perf_counter() - before_s:.1f} s, peak {peak_gib():.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        measure(rows, Path(folder) / "run")


if __name__ == "__main__":
    main()
