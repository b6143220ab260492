"""Register workers with a master, or reject them if no more workers are expected. Decode and
validate the reports of workers.

Workers can run on other machines. Their reports are therefore not trusted, even though the workers
have the token.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from loadgen.frames import decode_report
from loadgen.master.gathering import JoinCriteria
from loadgen.master.stage import StageListener
from loadgen.master.worker_pool import RemoteWorker, WorkerPool
from loadgen.records import (
    ERROR_CLASSES,
    MAX_SAMPLE_CHARS,
    NOT_STARTED,
    Command,
    Failed,
    FirstError,
    Hello,
    Joining,
    Ping,
    PreflightDone,
    Progress,
    Quit,
    Ready,
    Report,
    StageEnded,
)
from loadgen.sanitizing import sanitize_line, sanitize_text

_MAX_REPORT_BYTES = 2**20
_MAX_NAME_CHARS = 255
_MAX_NUMBER = 2**58
"""Maximum absolute value of a number in a report of a worker (nine years in ns). Sums of several
dozen such numbers still fit into msgpack's 64-bit integers."""


def decode_untrusted_report(body: bytes) -> Report:
    """Decode a report of a worker and sanitize its strings for display. Raises ValueError for a
    report that no worker of Sizewise sends."""
    if len(body) > _MAX_REPORT_BYTES:
        raise ValueError(f"sent a report of {len(body):,} bytes, above the maximum of {_MAX_REPORT_BYTES:,} bytes")
    try:
        report = decode_report(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"sent an invalid report ({type(error).__name__})") from error
    if isinstance(report, Joining | Ready):
        raise ValueError(f"sent an unexpected {type(report).__name__} report")
    if isinstance(report, Hello) and not all(
        map(_is_name, (report.host, report.clock, report.pacing, report.event_loop))
    ):
        raise ValueError("sent a Hello report with an invalid string")
    if not all(map(_is_plausible, _iterate_numbers(msgspec.structs.astuple(report)))):
        raise ValueError(f"sent a {type(report).__name__} report with a number out of range")
    if isinstance(report, Failed | PreflightDone) and report.error not in (None, *ERROR_CLASSES):
        raise ValueError(f"sent a {type(report).__name__} report with an unknown error class")
    if isinstance(report, Progress | StageEnded) and not _has_valid_first_errors(report.first_errors):
        raise ValueError(f"sent a {type(report).__name__} report with unknown or duplicate error classes")
    return _sanitize(report)


def _sanitize(report: Report) -> Report:
    match report:
        case Failed(message=message, hint=hint):
            hint = None if hint is None else sanitize_text(hint)
            return msgspec.structs.replace(report, message=sanitize_text(message), hint=hint)
        case PreflightDone(detail=detail, notes=notes, hosts=hosts, headers=headers):
            notes, hosts = tuple(map(sanitize_text, notes)), tuple(map(sanitize_text, hosts))
            headers = tuple((sanitize_text(name), sanitize_text(value)) for name, value in headers)
            return msgspec.structs.replace(
                report, detail=sanitize_text(detail), notes=notes, hosts=hosts, headers=headers
            )
        case Progress(first_errors=first_errors) | StageEnded(first_errors=first_errors) if first_errors:
            sanitized_errors = tuple(
                msgspec.structs.replace(error, text=sanitize_line(error.text, MAX_SAMPLE_CHARS))
                for error in first_errors
            )
            return msgspec.structs.replace(report, first_errors=sanitized_errors)
        case _:  # no other report has strings for display
            return report


def _has_valid_first_errors(first_errors: tuple[FirstError, ...]) -> bool:
    """Return True if the error class of each failure is known, and no error class occurs twice."""
    error_classes = {error.error for error in first_errors}
    return len(error_classes) == len(first_errors) and error_classes <= {*ERROR_CLASSES, NOT_STARTED}


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _MAX_NAME_CHARS and text.isprintable()


def _is_plausible(number: float) -> bool:
    return math.isfinite(number) and abs(number) <= _MAX_NUMBER


def _iterate_numbers(values: Iterable[object]) -> Iterable[float]:
    for value in values:
        if isinstance(value, int | float):
            yield value
        elif isinstance(value, tuple):
            yield from _iterate_numbers(value)
        elif isinstance(value, msgspec.Struct):
            yield from _iterate_numbers(msgspec.structs.astuple(value))


_MAX_LOGGED_REJECTIONS = 20
"""Maximum number of rejected clients that are logged, so that repeated attempts cannot fill the
log."""


class WorkerChannel(Protocol):
    """Channel that sends commands to workers and registers workers with Locust. No method blocks.

    `start_users` makes Locust start its users on the registered workers, and then calls
    `on_started`.
    """

    def send(self, client_id: str, command: Command) -> None: ...

    def register(self, client_id: str) -> None: ...

    def unregister(self, client_id: str) -> None: ...

    def start_users(self, on_started: Callable[[], None]) -> None: ...


class WorkerRegistration:
    def __init__(
        self, pool: WorkerPool, join_criteria: JoinCriteria, channel: WorkerChannel, engine: StageListener
    ) -> None:
        self._pool, self._join_criteria, self._channel, self._engine = pool, join_criteria, channel, engine
        self.is_open = True
        self._reported_joined_count = -1
        self._logged_rejections: list[str] = []
        self._report_joining()

    def on_hello(self, client_id: str, kind: str, body: bytes, now_ns: int) -> None:
        """Handle a message of a client that is not in the pool: add a worker, or reject the client.

        Raises ValueError if the message is not a Hello.
        """
        hello = decode_untrusted_report(body) if kind == "report" else None
        if not isinstance(hello, Hello):
            raise ValueError("sent a message before Hello")
        if not self.is_open:
            self.reject(
                client_id,
                f"the worker at {hello.host} (process {hello.pid}) was rejected, because all "
                "expected workers have joined",
            )
            return
        worker = self._join_criteria.check_join(client_id, hello, self._pool, now_ns)
        if isinstance(worker, str):
            self.reject(client_id, worker)
            return
        self._pool.add(worker)
        self._channel.register(client_id)
        self.ping_if_due(worker, now_ns)
        self.close_if_complete()

    def reject(self, client_id: str, reason: str) -> None:
        self._channel.send(client_id, Quit(reason))
        if len(self._logged_rejections) < _MAX_LOGGED_REJECTIONS:
            self._logged_rejections.append(reason)
            sys.stderr.write(f"{reason}\n")

    def ping_if_due(self, worker: RemoteWorker, now_ns: int) -> None:
        """Send a ping to the worker if a ping is due."""
        if worker.start_ping_if_due(now_ns):
            self._channel.send(worker.client_id, Ping(now_ns))

    def close_if_complete(self) -> None:
        """Close the registration and start the workers if all expected workers have joined."""
        if not self.is_open:
            return
        self._report_joining()
        if self._join_criteria.is_complete(self._pool):
            self.is_open = False
            self._pool.assign_indices()
            self._channel.start_users(self._report_ready)

    def remove(self, worker: RemoteWorker) -> None:
        """Remove a worker from the pool, so that another worker can join in its place."""
        self._pool.remove(worker)
        self._report_joining()

    def find_failure(self, now_ns: int) -> Failed | None:
        """Return a failure if an expected worker can no longer join or the time limit has passed,
        otherwise None. The hint of the failure lists the rejected workers."""
        failed = self._join_criteria.find_failure(self._pool, now_ns) if self.is_open else None
        if failed is None or not self._logged_rejections:
            return failed
        hints = [failed.hint] if failed.hint else []
        return msgspec.structs.replace(failed, hint="\n".join([*hints, *self._logged_rejections]))

    def _report_joining(self) -> None:
        joined_count = self._pool.joined_count
        if self._join_criteria.has_remote_workers and joined_count != self._reported_joined_count:
            self._reported_joined_count = joined_count
            self._engine.send(Joining(self._join_criteria.address, joined_count, self._join_criteria.expected_count))

    def _report_ready(self) -> None:
        hellos = [worker.hello for worker in self._pool]
        self._engine.send(
            Ready(
                pid=os.getpid(),
                pacing=", ".join(sorted({hello.pacing for hello in hellos})),
                event_loop=", ".join(sorted({hello.event_loop for hello in hellos})),
                workers=tuple(worker.load_worker for worker in self._pool),
            )
        )
