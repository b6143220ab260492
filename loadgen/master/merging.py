"""Merge the reports of several workers into one report, in the form that a single worker would
send.

The preflight sends one request of the workload from each host, because a network route, a DNS name
or a file can be missing on some hosts only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from loadgen.master.worker_pool import RemoteWorker
from loadgen.records import (
    Command,
    Failed,
    FirstError,
    Preflight,
    PreflightDone,
    Progress,
    StageEnded,
    WorkerStageResult,
)


def merge_preflights(results: Sequence[tuple[str, PreflightDone]]) -> PreflightDone:
    """Merge the preflight results of all hosts: return the first failure, or the slowest success if
    none failed.

    `results` are host names and results in the order of the pool.
    """
    failures = [(host, done) for host, done in results if done.error is not None]
    host, result = failures[0] if failures else max(results, key=lambda host_result: host_result[1].service_ms or 0.0)
    return msgspec.structs.replace(
        result,
        detail=_prefix_host(result.detail, host) if failures and len(results) > 1 else result.detail,
        notes=_deduplicate(note for _, done in results for note in done.notes),
        hosts=_deduplicate(name for _, done in results for name in done.hosts),
        keeps_connection=all(done.keeps_connection for _, done in results),
    )


def add_host_to_failure(host: str, failed: Failed) -> Failed:
    """Return the failure with the name of its host added to the message, for runs with more than
    one host."""
    return msgspec.structs.replace(failed, message=_prefix_host(failed.message, host))


def merge_progress(index: int, at_ns: int, latest: Sequence[Progress]) -> Progress:
    """Merge the latest progress report of each worker into one: counts are summed, `max_lag_ms` is
    the maximum."""
    return Progress(
        index=index,
        at_ns=at_ns,
        intended=sum(progress.intended for progress in latest),
        sent=sum(progress.sent for progress in latest),
        completed=sum(progress.completed for progress in latest),
        failed=sum(progress.failed for progress in latest),
        in_flight=sum_known(progress.in_flight for progress in latest),
        max_lag_ms=max((progress.max_lag_ms for progress in latest), default=0.0),
        first_errors=merge_first_errors(progress.first_errors for progress in latest),
    )


def merge_stage_ends(
    index: int,
    start_ns: int,
    scheduled: int | None,
    ends: Sequence[StageEnded],
    workers: tuple[WorkerStageResult, ...],
    first_errors: tuple[FirstError, ...] = (),
) -> StageEnded:
    """Merge the StageEnded reports of one or more workers, with times on the master's clock and the
    same rate curve.

    `first_errors` are the first errors of all workers, including lost workers.
    """
    return StageEnded(
        index=index,
        start_ns=start_ns,
        end_ns=max(end.end_ns for end in ends),
        scheduled=scheduled,
        never_started=sum(end.never_started for end in ends),
        cpu_s=sum(end.cpu_s for end in ends),
        connections_opened=sum(end.connections_opened for end in ends),
        stopped_early=any(end.stopped_early for end in ends),
        rates=ends[0].rates,
        workers=workers,
        cpu_wait_s=max((end.cpu_wait_s for end in ends if end.cpu_wait_s is not None), default=None),
        first_errors=first_errors,
        duration_s=min((end.duration_s for end in ends if end.duration_s is not None), default=None),
    )


def merge_first_errors(errors_by_worker: Iterable[tuple[FirstError, ...]]) -> tuple[FirstError, ...]:
    """Return the first error of each class, ordered by time."""
    first: dict[str, FirstError] = {}
    for error in sorted((error for errors in errors_by_worker for error in errors), key=lambda error: error.at_ns):
        first.setdefault(error.error, error)
    return tuple(first.values())


def sum_known(counts: Iterable[int | None]) -> int | None:
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
    """One preflight request from every host. `hosts` lists the workers of each host; the first
    worker that is not lost sends the request."""

    def __init__(self, hosts: Sequence[Sequence[RemoteWorker]], send: Callable[[RemoteWorker, Command], None]) -> None:
        self._hosts, self._send = hosts, send
        self._pending: dict[int, RemoteWorker] = {}
        self._results: dict[int, PreflightDone] = {}
        for host_index in range(len(hosts)):
            self._request(host_index)

    def on_result(self, worker: RemoteWorker, done: PreflightDone) -> None:
        """Store a worker's result. Raises ValueError if the result was not requested."""
        host_index = next((host_index for host_index, pending in self._pending.items() if pending is worker), None)
        if host_index is None:
            raise ValueError("sent an unexpected PreflightDone report")
        del self._pending[host_index]
        end_ns = None if done.end_ns is None else worker.fit_clock_line().to_master_ns(done.end_ns)
        self._results[host_index] = msgspec.structs.replace(done, end_ns=end_ns)

    def on_worker_lost(self, worker: RemoteWorker) -> None:
        for host_index, pending in list(self._pending.items()):
            if pending is worker:
                del self._pending[host_index]
                self._request(host_index)

    def get_result(self) -> PreflightDone | None:
        """Return the merged result, or None while a request is pending."""
        if self._pending or not self._results:
            return None
        host_names = [workers[0].hello.host for workers in self._hosts]
        return merge_preflights(
            [(host_names[host_index], self._results[host_index]) for host_index in sorted(self._results)]
        )

    def _request(self, host_index: int) -> None:
        worker = next((worker for worker in self._hosts[host_index] if worker.lost_reason is None), None)
        if worker is not None:
            self._pending[host_index] = worker
            self._send(worker, Preflight())
