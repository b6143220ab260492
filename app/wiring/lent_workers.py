"""Load workers that this machine lends to a master on another machine."""

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
from loadgen.records import EXIT_DISMISSED, EXIT_MASTER_LOST, EXIT_NO_MASTER, Join, Ready

_EXIT_LIMIT_S = 1.0
_POLL_S = 0.2
_TOKEN_HINT = "Check that the run is waiting for workers at this address, and that both sides use the same token."


class _Worker:
    """A worker process lent to a master. It calls `on_change` when the worker has joined and when
    it has exited."""

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
    def code(self) -> int | None:
        """Exit code of the worker; `None` while it is running."""
        return self._process.poll()

    @property
    def stderr_text(self) -> str | None:
        self._stderr_tail.wait(_EXIT_LIMIT_S)
        return self._stderr_tail.text

    def close_input(self) -> None:
        """Close the worker's standard input, which makes the worker exit immediately."""
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
    """Workers lent to a master. The constructor starts the workers; leaving the context stops
    them."""

    def __init__(self, join: Join, count: int, should_continue: Callable[[], bool] = lambda: True) -> None:
        """Start `count` workers. `should_continue` is polled several times per second."""
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

        `on_joined` is called once with the number of workers that joined, which is at most the
        number the master waits for. Raises UnavailableError if no master accepts a worker, and
        MeasurementError if the run continued without a worker that had joined."""
        has_reported = False
        while self._should_continue():
            joined_workers = [worker for worker in self._workers if worker.has_joined]
            running_workers = [worker for worker in self._workers if worker.code is None]
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
        """Raise UnavailableError if no master was found. If one worker finds no master, the
        method does not wait for the other workers."""
        codes = [worker.code for worker in self._workers]
        if EXIT_NO_MASTER in codes:
            message = self._workers[codes.index(EXIT_NO_MASTER)].stderr_text
            raise UnavailableError(message or "no master was found", hint=_TOKEN_HINT)
        _require_clean_exit([worker for worker in self._workers if worker.code != EXIT_DISMISSED])
        if EXIT_DISMISSED in codes and None not in codes:
            message = self._workers[codes.index(EXIT_DISMISSED)].stderr_text
            raise UnavailableError("the master accepted no worker of this machine", hint=message)
        if None not in codes:
            raise UnavailableError("the run ended before any worker of this machine had joined")


def _require_clean_exit(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.code == EXIT_MASTER_LOST:
            hint = "Check the network, and check whether the run was killed."
            raise MeasurementError(worker.stderr_text or "the connection to the master was lost", hint=hint)
        if worker.code == EXIT_DISMISSED:
            raise MeasurementError("the run continued without a load worker of this machine", hint=worker.stderr_text)
        if worker.code:
            raise MeasurementError(
                f"a load worker of this machine {describe_exit(worker.code)}", hint=worker.stderr_text
            )
