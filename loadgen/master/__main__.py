"""Run the master of several load workers: `python -m loadgen.master`. Like a single load worker,
the master exchanges frames with the engine.

The master has these threads: the gevent hub of Locust (main thread), the hub's thread pool, which
reads commands, the frame writer, and one thread per local worker, which reads the worker's standard
error.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

# Set before anything imports Locust: patched threads would be greenlets, and the hub would block on
# standard input.
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

import gevent
from gevent.event import AsyncResult

from loadgen.curve import MIN_TOKEN_CHARS, generate_token
from loadgen.frames import read_command
from loadgen.machine import raise_descriptor_limit
from loadgen.master.controller import MasterController
from loadgen.master.frame_writer import FrameWriterThread
from loadgen.master.gathering import JoinCriteria
from loadgen.master.sockets import BindError, GuardedMaster, GuardedServer, get_local_address, is_loopback, resolve_host
from loadgen.master.worker_pool import LocalWorker
from loadgen.records import Command, Failed, Gather, Join, Quit
from loadgen.sanitizing import format_host_port

_TICK_INTERVAL_S = 0.05
_FLUSH_TIMEOUT_S = 0.3
_LOCAL_EXIT_TIMEOUT_S = 1.0
"""Time limit in seconds for local workers to exit. It must be shorter than the engine's time limit
for the master to exit, so that the master can kill unresponsive workers before the engine kills the
master."""


class GatherError(Exception):
    """Error that is raised when the master cannot listen for the requested workers."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Master:
    def __init__(self, frame_writer: FrameWriterThread) -> None:
        self._writer = frame_writer
        self._runner: GuardedMaster | None = None
        self._controller: MasterController | None = None
        self._local_workers: tuple[LocalWorker, ...] = ()
        self._exit_code: AsyncResult = AsyncResult()

    def run(self) -> int:
        """Run the master until the engine exits or sends Quit, or until the master cannot continue.
        Return the exit code of the process."""
        for function in (self._read_commands, self._tick):
            self._spawn(function)
        exit_code: int = self._exit_code.get()
        return exit_code

    def shut_down(self) -> None:
        if self._controller is not None:
            self._controller.quit_workers()
        for local_worker in self._local_workers:
            local_worker.close_stdin()
        if self._runner is not None:
            self._runner.shut_down(_FLUSH_TIMEOUT_S)
        deadline_s = time.monotonic() + _LOCAL_EXIT_TIMEOUT_S
        for local_worker in self._local_workers:
            local_worker.wait_or_kill(max(0.0, deadline_s - time.monotonic()))

    def _spawn(self, function: Callable[[], None]) -> None:
        gevent.spawn(self._run_guarded, function)

    def _run_guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except GatherError as error:
            self._fail(Failed(str(error), hint=error.hint, is_workload_invalid=True))
        except Exception as error:
            traceback.print_exc()
            self._fail(Failed(f"the master of the load workers failed: {type(error).__name__}: {error}"))

    def _fail(self, failed: Failed) -> None:
        if not self._exit_code.ready():
            self._writer.send(failed)
            self._exit_code.set(1)

    def _read_commands(self) -> None:
        pool = gevent.get_hub().threadpool
        while True:
            command: Command | None = pool.apply(read_command, (sys.stdin.buffer,))
            match command:
                case Quit() | None:
                    self._exit_code.set(0)
                    return
                case Gather():
                    self._gather(command)
                case _ if self._controller is not None:
                    self._controller.execute(command)
                case _:
                    raise RuntimeError("the master received a command for workers before any worker had joined")

    def _tick(self) -> None:
        while True:
            gevent.sleep(_TICK_INTERVAL_S)
            if self._controller is not None:
                self._controller.tick()

    def _gather(self, gather: Gather) -> None:
        """Start to listen for workers, and start the local workers. Raises GatherError if the
        master cannot listen."""
        server, token = _bind_server(gather, self._on_invalid_message)
        self._runner = GuardedMaster(server, self._on_message, self._spawn)
        join = Join(get_local_address(server.address), server.port, token)
        self._local_workers = tuple(LocalWorker(join) for _ in range(gather.local_workers))
        now_ns = time.perf_counter_ns
        join_criteria = JoinCriteria(
            gather, format_host_port(server.address, server.port), self._local_workers, now_ns()
        )
        self._controller = MasterController(join_criteria, self._runner, self._writer, self._fail, now_ns)

    def _on_message(self, client_id: str, kind: str, body: bytes) -> None:
        if self._controller is not None:
            self._controller.on_message(client_id, kind, body)

    def _on_invalid_message(self, client_id: str, reason: str) -> None:
        if self._controller is not None:
            self._controller.evict(client_id, reason)


def _bind_server(gather: Gather, on_invalid_message: Callable[[str, str], None]) -> tuple[GuardedServer, str]:
    """Return a server that listens for workers, and its token. Raises GatherError."""
    try:
        address = resolve_host(gather.host)
        if not gather.token and not is_loopback(address):
            hint = "Set the same token for master and workers, or bind to a loopback address."
            raise GatherError(f"a token is required for workers to join at {address}", hint)
        if gather.token and len(gather.token) < MIN_TOKEN_CHARS:
            raise GatherError(
                f"the token is too short: it must have at least {MIN_TOKEN_CHARS} characters (got {len(gather.token)})"
            )
        token = gather.token or generate_token()
        return GuardedServer(address, gather.port, token, on_invalid_message), token
    except BindError as error:
        raise GatherError(str(error), "Choose a different address or port for the workers.") from error


def _exit(code: int) -> NoReturn:
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides when a run ends
    raise_descriptor_limit()
    # Redirect accidental prints to standard error, so that they cannot corrupt a frame.
    frame_writer = FrameWriterThread(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    master = Master(frame_writer)
    exit_code = master.run()
    master.shut_down()  # first, so that the workers stop sending; reports to the engine are written in the meantime
    frame_writer.close(_FLUSH_TIMEOUT_S)
    _exit(exit_code)


main()
