"""Merge the reports of several workers into one report, as a single worker would send it.

The preflight sends one request of the workload from each host, because a network route, a DNS name
or a file can be missing on only some of the hosts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from loadgen.master.worker_pool import RemoteWorker
from loadgen.records import (
    Command,
    Failed,
    FirstError,
    LiveSessionCounts,
    OutputCount,
    Preflight,
    PreflightDone,
    Progress,
    RoundTrips,
    StageEnded,
    WorkerStageResult,
)


def merge_preflights(results: Sequence[tuple[str, PreflightDone]]) -> PreflightDone:
    """Merge the preflight results of all hosts. Return the first failure, or the success with the
    longest service time if no host failed.

    `results` are pairs of host name and result, in the order of the worker pool.
    """
    failures = [(host, preflight) for host, preflight in results if preflight.error is not None]
    host, preflight_result = (
        failures[0] if failures else max(results, key=lambda host_result: host_result[1].service_ms or 0.0)
    )
    return msgspec.structs.replace(
        preflight_result,
        detail=_prefix_host(preflight_result.detail, host)
        if failures and len(results) > 1
        else preflight_result.detail,
        notes=_deduplicate(note for _, preflight in results for note in preflight.notes),
        hosts=_deduplicate(name for _, preflight in results for name in preflight.hosts),
        reuses_connection=all(preflight.reuses_connection for _, preflight in results),
    )


def add_host_to_failure(host: str, failed: Failed) -> Failed:
    """Return the failure of a worker with the name of the worker's host added to the message, for
    runs with several hosts."""
    return msgspec.structs.replace(failed, message=_prefix_host(failed.message, host))


def merge_progress(index: int, at_ns: int, reports: Sequence[Progress]) -> Progress:
    """Merge the latest progress report of each worker into one report. Counts are summed, and
    `max_lag_ms` is the maximum over the workers."""
    return Progress(
        index=index,
        at_ns=at_ns,
        due=sum(progress.due for progress in reports),
        sent=sum(progress.sent for progress in reports),
        completed=sum(progress.completed for progress in reports),
        failed=sum(progress.failed for progress in reports),
        in_flight=sum_counts(progress.in_flight for progress in reports),
        max_lag_ms=max((progress.max_lag_ms for progress in reports), default=0.0),
        first_errors=merge_first_errors(progress.first_errors for progress in reports),
    )


def merge_stage_ends(
    index: int,
    start_ns: int,
    scheduled: int | None,
    reports: Sequence[StageEnded],
    workers: tuple[WorkerStageResult, ...],
    first_errors: tuple[FirstError, ...] = (),
) -> StageEnded:
    """Merge the StageEnded reports of one or more workers. The times must be on the master's clock,
    and the rate curve must be the same for all workers.

    `first_errors` has the first failure of each error class over all workers, including lost
    workers.
    """
    return StageEnded(
        index=index,
        start_ns=start_ns,
        end_ns=max(report.end_ns for report in reports),
        scheduled=scheduled,
        never_started=sum(report.never_started for report in reports),
        cpu_s=sum(report.cpu_s for report in reports),
        connections_opened=sum(report.connections_opened for report in reports),
        stopped_early=any(report.stopped_early for report in reports),
        rates=reports[0].rates,
        workers=workers,
        cpu_wait_s=max((report.cpu_wait_s for report in reports if report.cpu_wait_s is not None), default=None),
        first_errors=first_errors,
        duration_s=min((report.duration_s for report in reports if report.duration_s is not None), default=None),
        live_sessions=_merge_session_counts(
            [report.live_sessions for report in reports if report.live_sessions is not None]
        ),
        outputs=_merge_output_counts([report.outputs for report in reports if report.outputs is not None]),
        round_trips=_merge_round_trips([report.round_trips for report in reports if report.round_trips is not None]),
    )


def _merge_round_trips(all_round_trips: Sequence[RoundTrips]) -> RoundTrips | None:
    """Return the means over the connections of all workers."""
    count = sum(round_trips.connections for round_trips in all_round_trips)
    if not count:
        return None
    return RoundTrips(
        connections=count,
        min_ms=sum(one.connections * one.min_ms for one in all_round_trips) / count,
    )


def _merge_session_counts(counts: Sequence[LiveSessionCounts]) -> LiveSessionCounts | None:
    if not counts:
        return None
    columns = zip(*map(msgspec.structs.astuple, counts), strict=True)
    return msgspec.structs.replace(
        LiveSessionCounts(*map(sum, columns)), max_build_cpu_ns=max(count.max_build_cpu_ns for count in counts)
    )


def _merge_output_counts(counts: Sequence[dict[OutputCount, int]]) -> dict[OutputCount, int] | None:
    return dict(sum(map(Counter, counts), Counter())) if counts else None


def merge_first_errors(error_groups: Iterable[tuple[FirstError, ...]]) -> tuple[FirstError, ...]:
    """Return the first failure of each error class over all workers, ordered by time."""
    first_error_by_class: dict[str, FirstError] = {}
    for error in sorted((error for group in error_groups for error in group), key=lambda error: error.at_ns):
        first_error_by_class.setdefault(error.error, error)
    return tuple(first_error_by_class.values())


def sum_counts(counts: Iterable[int | None]) -> int | None:
    """Return the sum of the counts, or None if a count is unknown."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _prefix_host(text: str, host: str) -> str:
    return f"from {host}: {text}"


def _deduplicate(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


class PreflightRound:
    """Round of preflight requests, one from every host.

    `worker_groups` lists the workers of each host. The first worker of a host that is not lost
    sends the request.
    """

    def __init__(
        self, worker_groups: Sequence[Sequence[RemoteWorker]], send: Callable[[RemoteWorker, Command], None]
    ) -> None:
        self._worker_groups, self._send = worker_groups, send
        self._pending_workers: dict[int, RemoteWorker] = {}
        self._results: dict[int, PreflightDone] = {}
        for host_index in range(len(worker_groups)):
            self._request_preflight(host_index)

    def on_result(self, worker: RemoteWorker, result: PreflightDone) -> None:
        """Store the preflight result of a worker. Raises ValueError if no result of this worker is
        expected."""
        host_index = next(
            (host_index for host_index, pending_worker in self._pending_workers.items() if pending_worker is worker),
            None,
        )
        if host_index is None:
            raise ValueError("sent an unexpected PreflightDone report")
        del self._pending_workers[host_index]
        end_ns = None if result.end_ns is None else worker.fit_clock_model().to_master_ns(result.end_ns)
        self._results[host_index] = msgspec.structs.replace(result, end_ns=end_ns)

    def on_worker_lost(self, worker: RemoteWorker) -> None:
        for host_index, pending_worker in list(self._pending_workers.items()):
            if pending_worker is worker:
                del self._pending_workers[host_index]
                self._request_preflight(host_index)

    def get_result(self) -> PreflightDone | None:
        """Return the merged preflight result of all hosts; None while a request is pending."""
        if self._pending_workers or not self._results:
            return None
        host_names = [workers[0].hello.host for workers in self._worker_groups]
        return merge_preflights(
            [(host_names[host_index], self._results[host_index]) for host_index in sorted(self._results)]
        )

    def _request_preflight(self, host_index: int) -> None:
        worker = next((worker for worker in self._worker_groups[host_index] if worker.lost_reason is None), None)
        if worker is not None:
            self._pending_workers[host_index] = worker
            self._send(worker, Preflight())
