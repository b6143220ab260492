"""Who sent the load, where several workers did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.analysis.worker_totals import worker_totals
from app.records.result import Estimate, Result, Stage, WorkerFacts
from app.reporting.quantities import quantity
from reports import formatting, model


def workers_of(stages: Sequence[Stage]) -> tuple[WorkerFacts, ...]:
    """What each did in all stages but the warm-ups; none where one worker sent alone."""
    return worker_totals(stage.workers for stage in stages if stage.kind != "warmup" and not stage.is_pooled)


def who_sent(stages: Sequence[Stage]) -> str | None:
    """As in "4 workers on 2 hosts (a: 2, b: 2)"; None where one worker sent alone."""
    workers = workers_of(stages)
    if not workers:
        return None
    hosts = Counter(worker.host for worker in workers)
    together = f"{len(workers)} worker{'' if len(workers) == 1 else 's'} on"
    if len(hosts) == 1:
        return f"{together} {next(iter(hosts))}"
    return f"{together} {len(hosts)} hosts ({', '.join(f'{host}: {count}' for host, count in hosts.items())})"


def clock_residual_ms(stages: Sequence[Stage]) -> float | None:
    """The largest of any worker; None where all read one clock."""
    residuals_ms = [one.clock_residual_ms for one in workers_of(stages) if one.clock_residual_ms is not None]
    return max(residuals_ms, default=None)


def worker_rows(result: Result) -> tuple[model.WorkerRow, ...]:
    """One for each worker."""
    start_ns = result.zero_ns
    return tuple(
        model.WorkerRow(
            worker=worker.worker,
            host=worker.host,
            sent=worker.sent,
            cpu=quantity(_cpu(worker), "s"),
            max_lag=quantity(Estimate(worker.max_lag_ms), "ms"),
            clock=quantity(_clock(worker), "ms"),
            lost_s=None if worker.lost_ns is None else (worker.lost_ns - start_ns) / 1e9,
        )
        for worker in workers_of(result.stages)
    )


def _cpu(worker: WorkerFacts) -> Estimate:
    """It is told at the end of a stage."""
    return Estimate(worker.cpu_s) if worker.lost_ns is None else Estimate(None, reason="lost before it could tell")


def _clock(worker: WorkerFacts) -> Estimate:
    return Estimate(
        worker.clock_residual_ms, reason="the engine's own clock" if worker.clock_residual_ms is None else None
    )


def shared_by(stages: Sequence[Stage]) -> str | None:
    """The sentence of the method."""
    who = who_sent(stages)
    return None if who is None else f"The load was sent by {who}, each taking its turns of one schedule."


def clock_words(stages: Sequence[Stage]) -> str:
    residual_ms = clock_residual_ms(stages)
    if residual_ms is None:
        return "All times are of one monotonic clock"
    return (
        "All times are of one monotonic clock: those of workers on other clocks were moved onto it, "
        f"{formatting.number(residual_ms)} ms off at most"
    )
