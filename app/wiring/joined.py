"""The load workers that this machine lends to a master somewhere else."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO, BinaryIO, cast

from app.errors import InstrumentError, UnavailableError
from loadgen.child import LastWords, end_within, how_it_ended, start_module
from loadgen.frames import message_frame, read_report
from loadgen.records import EXIT_MASTER_LOST, EXIT_NO_MASTER, EXIT_SENT_AWAY, Join, Ready

_LEAVE_S = 1.0
_LOOK_S = 0.2
_TOKEN_HINT = "Is the run waiting there for workers, and do both sides have the same token?"


class _Worker:
    """Tells `on_change` when it has joined, and when it has left."""

    def __init__(self, join: Join, on_change: Callable[[], None]) -> None:
        self._process = start_module("loadgen.worker", "--join", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._on_change = on_change
        self._last_words = LastWords(cast(IO[bytes], self._process.stderr))
        self.has_joined = False
        self._listener = threading.Thread(target=self._listen, name="joined-worker", daemon=True)
        self._listener.start()
        with contextlib.suppress(OSError):  # it has left already, which is told by the listener
            self._stdin.write(message_frame(join))
            self._stdin.flush()

    @property
    def code(self) -> int | None:
        """What it left with; None while it is there."""
        return self._process.poll()

    @property
    def last_words(self) -> str | None:
        self._last_words.wait(_LEAVE_S)
        return self._last_words.text

    def let_go(self) -> None:
        """It leaves at once when its standard input closes."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def end(self) -> None:
        self.let_go()
        end_within(_LEAVE_S, self._process)
        self._listener.join()
        self._last_words.wait()
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


class JoinedWorkers:
    """Started by the constructor; the end of the context ends them."""

    def __init__(self, join: Join, count: int, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """`is_wanted` is asked several times a second."""
        self._is_wanted = is_wanted
        self._changes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._workers = [_Worker(join, lambda: self._changes.put(None)) for _ in range(count)]

    def __enter__(self) -> JoinedWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.let_go()
        for worker in self._workers:
            worker.end()

    def follow(self, on_joined: Callable[[int], None]) -> None:
        """Returns when all have left because the run has ended, or when they are not wanted any more; `on_joined` is
        told once how many have joined: a master takes no more than it waits for.

        Raises UnavailableError where there is no master that takes any, InstrumentError where the run went on without
        one that had joined.
        """
        has_told = False
        while self._is_wanted():
            joined = [worker for worker in self._workers if worker.has_joined]
            here = [worker for worker in self._workers if worker.code is None]
            if not has_told and joined and all(worker.has_joined for worker in here):
                has_told = True
                on_joined(len(joined))
            if not joined:
                self._require_a_master()
            if not here:
                _require_a_good_end(joined)
                return
            with contextlib.suppress(queue.Empty):
                self._changes.get(timeout=_LOOK_S)

    def _require_a_master(self) -> None:
        """Where one finds none, none will: the others need not look for as long."""
        codes = [worker.code for worker in self._workers]
        if EXIT_NO_MASTER in codes:
            words = self._workers[codes.index(EXIT_NO_MASTER)].last_words
            raise UnavailableError(words or "no master was found", hint=_TOKEN_HINT)
        _require_a_good_end([worker for worker in self._workers if worker.code != EXIT_SENT_AWAY])
        if EXIT_SENT_AWAY in codes and None not in codes:
            words = self._workers[codes.index(EXIT_SENT_AWAY)].last_words
            raise UnavailableError("the master took no worker of this machine", hint=words)
        if None not in codes:
            raise UnavailableError("the run ended before any worker of this machine had joined")


def _require_a_good_end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.code == EXIT_MASTER_LOST:
            hint = "The network between them may have failed, or the run was ended by force."
            raise InstrumentError(worker.last_words or "the master is gone", hint=hint)
        if worker.code == EXIT_SENT_AWAY:
            raise InstrumentError("the run went on without a load worker of this machine", hint=worker.last_words)
        if worker.code:
            raise InstrumentError(f"a load worker of this machine {how_it_ended(worker.code)}", hint=worker.last_words)
