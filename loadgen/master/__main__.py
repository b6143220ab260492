"""The master of several load workers: `python -m loadgen.master`, in the same frames as a worker.

Threads: Locust's hub (this one), the hub's pool, which reads commands, the outlet, and one for each local worker's
standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

# before anything imports Locust: patched threads would be greenlets, and the hub would wait for standard input
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

import gevent
from gevent.event import AsyncResult

from loadgen.curve import FEWEST_CHARACTERS, new_token
from loadgen.frames import read_command
from loadgen.machine import raise_limit
from loadgen.master.conductor import Conductor
from loadgen.master.crew import LocalWorker
from loadgen.master.gathering import Gathering
from loadgen.master.outlet import Outlet
from loadgen.master.sockets import BindError, GuardedMaster, GuardedServer, is_loopback, numeric, reached_at
from loadgen.plain import shown_place
from loadgen.records import Command, Failed, Gather, Join, Quit

_TICK_S = 0.05
_LEAVING_S = 0.3
_LOCAL_LEAVES_S = 1.0
"""Less than the engine gives the master, which would leave a worker behind that does not heed."""


class GatherError(Exception):
    """What the master was told to gather, nobody can."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Master:
    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._runner: GuardedMaster | None = None
        self._conductor: Conductor | None = None
        self._local_workers: tuple[LocalWorker, ...] = ()
        self._over: AsyncResult = AsyncResult()

    def work(self) -> int:
        """Until the engine has gone, or says so, or it cannot go on; the exit code."""
        for work in (self._read_commands, self._tick):
            self._spawn(work)
        code: int = self._over.get()
        return code

    def leave(self) -> None:
        if self._conductor is not None:
            self._conductor.dismiss()
        for local in self._local_workers:
            local.let_go()
        if self._runner is not None:
            self._runner.leave(_LEAVING_S)
        until_s = time.monotonic() + _LOCAL_LEAVES_S
        for local in self._local_workers:
            local.end(max(0.0, until_s - time.monotonic()))

    def _spawn(self, work: Callable[[], None]) -> None:
        gevent.spawn(self._guarded, work)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except GatherError as error:
            self._fail(Failed(str(error), hint=error.hint, is_workload_wrong=True))
        except Exception as error:
            traceback.print_exc()
            self._fail(Failed(f"the master of the load workers failed: {type(error).__name__}: {error}"))

    def _fail(self, failed: Failed) -> None:
        if not self._over.ready():
            self._outlet.send(failed)
            self._over.set(1)

    def _read_commands(self) -> None:
        pool = gevent.get_hub().threadpool
        while True:
            command: Command | None = pool.apply(read_command, (sys.stdin.buffer,))
            match command:
                case Quit() | None:
                    self._over.set(0)
                    return
                case Gather():
                    self._gather(command)
                case _ if self._conductor is not None:
                    self._conductor.obey(command)
                case _:
                    raise RuntimeError("the master was told to send before it was told by whom")

    def _tick(self) -> None:
        while True:
            gevent.sleep(_TICK_S)
            if self._conductor is not None:
                self._conductor.tick()

    def _gather(self, gather: Gather) -> None:
        """Raises GatherError."""
        server, token = _bound(gather, self._distrust)
        self._runner = GuardedMaster(server, self._hear, self._spawn)
        join = Join(reached_at(server.address), server.port, token)
        self._local_workers = tuple(LocalWorker(join) for _ in range(gather.local))
        now_ns = time.perf_counter_ns
        gathering = Gathering(gather, shown_place(server.address, server.port), self._local_workers, now_ns())
        self._conductor = Conductor(gathering, self._runner, self._outlet, self._fail, now_ns)

    def _hear(self, client: str, kind: str, body: bytes) -> None:
        if self._conductor is not None:
            self._conductor.hear(client, kind, body)

    def _distrust(self, client: str, why: str) -> None:
        if self._conductor is not None:
            self._conductor.distrust(client, why)


def _bound(gather: Gather, on_garbage: Callable[[str, str], None]) -> tuple[GuardedServer, str]:
    """Raises GatherError."""
    try:
        address = numeric(gather.host)
        if not gather.token and not is_loopback(address):
            hint = "Set one that master and workers share, or bind a loopback address."
            raise GatherError(f"workers may join at {address} only with a token", hint)
        if gather.token and len(gather.token) < FEWEST_CHARACTERS:
            raise GatherError(f"the token is too short: it has to have {FEWEST_CHARACTERS} characters or more")
        token = gather.token or new_token()
        return GuardedServer(address, gather.port, token, on_garbage), token
    except BindError as error:
        raise GatherError(str(error), "Choose another address or port for the workers to join at.") from error


def _leave(code: int) -> NoReturn:
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides when a run ends
    raise_limit()
    # what prints by mistake prints to standard error, and cannot break a frame
    outlet = Outlet(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    master = Master(outlet)
    code = master.work()
    master.leave()  # first, as the workers are to stop sending; what is told the engine is written meanwhile
    outlet.close(_LEAVING_S)
    _leave(code)


main()
