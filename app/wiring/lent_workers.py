"""Load workers on this machine that join a master on another machine."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO, BinaryIO, cast

from app.errors import MeasurementError, UnavailableError
from loadgen.child import StderrTail, describe_exit, start_module, wait_or_kill
from loadgen.frames import encode_message_frame, read_report
from loadgen.records import EXIT_MASTER_LOST, EXIT_NO_MASTER, EXIT_REJECTED, Join, Ready

_EXIT_LIMIT_S = 1.0
_POLL_S = 0.2
_TOKEN_HINT = "Check that the run is waiting for workers at this address, and that both sides use the same token."


class _Worker:
    """A worker process that joins a master. `on_change` is called when the worker has joined, and
    when the worker has exited."""

    def __init__(self, join: Join, on_change: Callable[[], None]) -> None:
        self._process = start_module("loadgen.worker", "--join", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._on_change = on_change
        self._stderr_tail = StderrTail(cast(IO[bytes], self._process.stderr))
        self.has_joined = False
        self._listener = threading.Thread(target=self._listen, name="joined-worker", daemon=True)
        self._listener.start()
        with contextlib.suppress(OSError):  # The worker has already exited, which the listener reports.
            self._stdin.write(encode_message_frame(join))
            self._stdin.flush()

    @property
    def exit_code(self) -> int | None:
        """Exit code of the worker; `None` while the worker is running."""
        return self._process.poll()

    @property
    def stderr_text(self) -> str | None:
        self._stderr_tail.wait(_EXIT_LIMIT_S)
        return self._stderr_tail.text

    def close_input(self) -> None:
        """Close the worker's standard input, whereupon the worker exits immediately."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def stop(self) -> None:
        self.close_input()
        wait_or_kill(_EXIT_LIMIT_S, self._process)
        self._listener.join()
        self._stderr_tail.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            cast(IO[bytes], pipe).close()

    def _listen(self) -> None:
        stdout = cast(BinaryIO, self._process.stdout)
        while (report := read_report(stdout)) is not None:
            if isinstance(report, Ready):
                self.has_joined = True
                self._on_change()
        self._process.wait()
        self._on_change()


class LentWorkers:
    """Worker processes of this machine that join a master. The constructor starts the
    workers, and leaving the context stops them."""

    def __init__(self, join: Join, count: int, should_continue: Callable[[], bool] = lambda: True) -> None:
        """Start `count` workers. While `wait` runs, `should_continue` is polled several times per
        second."""
        self._should_continue = should_continue
        self._changes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._workers = [_Worker(join, lambda: self._changes.put(None)) for _ in range(count)]

    def __enter__(self) -> LentWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close_input()
        for worker in self._workers:
            worker.stop()

    def wait(self, on_joined: Callable[[int], None]) -> None:
        """Wait until all workers have exited because the run ended, or until `should_continue`
        returns False.

        `on_joined` is called once with the number of workers that joined. A master accepts only as
        many workers as it waits for. Raises UnavailableError if no master accepts a worker, and
        MeasurementError if the run continued without a worker that had joined.
        """
        has_reported = False
        while self._should_continue():
            joined_workers = [worker for worker in self._workers if worker.has_joined]
            running_workers = [worker for worker in self._workers if worker.exit_code is None]
            if not has_reported and joined_workers and all(worker.has_joined for worker in running_workers):
                has_reported = True
                on_joined(len(joined_workers))
            if not joined_workers:
                self._require_master()
            if not running_workers:
                _require_clean_exit(joined_workers)
                return
            with contextlib.suppress(queue.Empty):
                self._changes.get(timeout=_POLL_S)

    def _require_master(self) -> None:
        """Raise UnavailableError if a worker found no master, or if all workers have exited without
        joining. As soon as one worker found no master, the error is raised without waiting for
        other workers."""
        exit_codes = [worker.exit_code for worker in self._workers]
        if EXIT_NO_MASTER in exit_codes:
            message = self._workers[exit_codes.index(EXIT_NO_MASTER)].stderr_text
            raise UnavailableError(message or "no master was found", hint=_TOKEN_HINT)
        _require_clean_exit([worker for worker in self._workers if worker.exit_code != EXIT_REJECTED])
        if EXIT_REJECTED in exit_codes and None not in exit_codes:
            message = self._workers[exit_codes.index(EXIT_REJECTED)].stderr_text
            raise UnavailableError("the master accepted no worker of this machine", hint=message)
        if None not in exit_codes:
            raise UnavailableError("the run ended before any worker of this machine had joined")


def _require_clean_exit(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.exit_code == EXIT_MASTER_LOST:
            hint = "Check the network, and check whether the run was killed."
            raise MeasurementError(worker.stderr_text or "the connection to the master was lost", hint=hint)
        if worker.exit_code == EXIT_REJECTED:
            raise MeasurementError("the run continued without a load worker of this machine", hint=worker.stderr_text)
        if worker.exit_code:
            raise MeasurementError(
                f"a load worker of this machine {describe_exit(worker.exit_code)}", hint=worker.stderr_text
            )
