"""A child that ships plain rows as a load worker does, and sends nothing; used by `tests.performance.rows`.

Its one stage holds as many rows as the plan's `max_requests`, shipped at `SHIPPED_PER_S`. They are those of a Poisson
process of the plan's rate, answered after an exponential time, in the order of their ends; one in `FAILS_ONE_IN` fails.
`cpu_s` at the stage's end is the time of making batches and writing them down the pipe alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import numpy as np

from loadgen.frames import ReportWriter, read_command
from loadgen.records import (
    BATCH_ROWS,
    OpenArrivals,
    Progress,
    RunStage,
    StageEnded,
    StagePlan,
    StageStarted,
)
from loadgen.transport.exchange import Exchange
from loadgen.worker.rows import build_record_batch

SHIPPED_PER_S = 400_000
FAILS_ONE_IN = 2_000
MEAN_RESPONSE_S = 0.01
BLOCK_ROWS = 100 * BATCH_ROWS
_PROGRESS_BATCHES = 200
_Block = tuple[list[int], list[int], list[int]]


def blocks(rows: int, rate_per_s: float, start_ns: int) -> Iterator[_Block]:
    """Index, scheduled start and end of the rows, in blocks."""
    rng, next_ns = np.random.default_rng(1), start_ns
    for first in range(0, rows, BLOCK_ROWS):
        count = min(BLOCK_ROWS, rows - first)
        scheduled = next_ns + np.cumsum(rng.exponential(1e9 / rate_per_s, count)).astype(np.int64)
        ends = scheduled + (1e6 + rng.exponential(1e9 * MEAN_RESPONSE_S, count)).astype(np.int64)
        order, next_ns = np.argsort(ends, kind="stable"), int(scheduled[-1])
        yield (first + order).tolist(), scheduled[order].tolist(), ends[order].tolist()


def exchanges() -> list[Exchange]:
    return [Exchange(0, 0, 0, b"", lambda _: None, status=200, bytes_received=150) for _ in range(BATCH_ROWS)]


def fill(reused: list[Exchange], block: _Block, start: int) -> list[Exchange]:
    """Fill the exchanges of the next batch into those of the previous one, since only the sender creates exchanges."""
    columns = zip(reused, *(column[start : start + BATCH_ROWS] for column in block), strict=False)
    count = 0
    for exchange, index, scheduled_ns, end_ns in columns:
        fails = index % FAILS_ONE_IN == 0
        exchange.index, exchange.scheduled_ns, exchange.sent_ns = index, scheduled_ns, scheduled_ns + 30_000
        exchange.first_byte_ns = exchange.end_ns = end_ns
        exchange.status, exchange.error, exchange.reused = (500, "http-5xx", True) if fails else (200, None, True)
        count += 1
    return reused[:count]


def run_stage(plan: StagePlan, reports: ReportWriter) -> None:
    assert isinstance(plan.load.arrivals, OpenArrivals)
    assert plan.load.max_requests is not None
    start_ns, rate_per_s = time.perf_counter_ns(), plan.load.arrivals.rates[0][1]
    reports.send(StageStarted(plan.index, start_ns, plan.load.max_requests))
    reused, cpu_s, shipped, due_s = exchanges(), 0.0, 0, time.perf_counter()
    for block in blocks(plan.load.max_requests, rate_per_s, start_ns):
        for start in range(0, len(block[0]), BATCH_ROWS):
            batch = fill(reused, block, start)
            before_s = time.process_time()
            reports.send_rows(build_record_batch(plan.index, batch))
            cpu_s += time.process_time() - before_s
            shipped += len(batch)
            if shipped // BATCH_ROWS % _PROGRESS_BATCHES == 0:
                reports.send(Progress(plan.index, block[1][start], shipped, shipped, shipped, 0, 0, 0.1))
        due_s += len(block[0]) / SHIPPED_PER_S
        time.sleep(max(0.0, due_s - time.perf_counter()))
    end_ns = start_ns + round(plan.load.duration_s * 1e9)
    reports.send(
        StageEnded(plan.index, start_ns, end_ns, plan.load.max_requests, 0, cpu_s, 1, False, plan.load.arrivals.rates)
    )


def main() -> None:
    reports = ReportWriter(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    while isinstance(command := read_command(sys.stdin.buffer), RunStage):
        run_stage(command.plan, reports)


if __name__ == "__main__":
    main()
