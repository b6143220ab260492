"""Sending thread, whose event loop is separate from Locust's hub, and the Locust user that
represents this thread.

Locust starts and monitors the user. Locust's statistics are not used, because they are rounded.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TypeVar

import gevent
from gevent.event import AsyncResult
from gevent.queue import Queue
from locust import User, runners, task
from locust.env import Environment

from loadgen.machine import read_cpu_wait_s

T = TypeVar("T")


class Sender:
    """Sending thread, with an event loop of its own. `event_loop_name` is the implementation of the
    event loop: "uvloop" if available, otherwise "asyncio"."""

    def __init__(self) -> None:
        self.event_loop_name, self.loop = _create_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="sender", daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[object, object, T]) -> Future[T]:
        """Run `coroutine` on the sending thread, and return a future of its result. This method may
        be called from any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def read_cpu_wait_s(self) -> float | None:
        """Return the total time in seconds that the sending thread has waited for a CPU core while
        ready to run; None if not reported by the OS."""
        return None if self._thread.native_id is None else read_cpu_wait_s(self._thread.native_id)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


def _create_event_loop() -> tuple[str, asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not available on Windows
        return "asyncio", asyncio.new_event_loop()
    return "uvloop", uvloop.new_event_loop()


def run_in_thread(function: Callable[[], T]) -> T:
    """Run `function` on a native thread and return its result. Locust's greenlets continue to run
    until the function returns."""
    future: Future[T] = Future()
    gevent.get_hub().threadpool.apply(_store_outcome, (function, future))
    return future.result()


def _store_outcome(function: Callable[[], T], future: Future[T]) -> None:
    try:
        future.set_result(function())
    except Exception as error:  # otherwise gevent would print it too
        future.set_exception(error)


class LocustRunner:
    """Locust runner with a single user. The user's task runs the stages one after another.

    The user is started only once, because Locust orders the start and stop of users by the wall
    clock.
    """

    def __init__(self) -> None:
        # Suppress Locust's warnings, which are not meant for users of Sizewise: CPU usage is
        # evaluated separately.
        runners.CPU_WARNING_THRESHOLD = sys.maxsize
        logging.getLogger("locust").setLevel(logging.CRITICAL)
        self._tasks: Queue[tuple[Callable[[], None], AsyncResult[None]]] = Queue()
        runner = self

        class ArrivalUser(User):  # the master starts the class by name
            @task
            def run_stages(self) -> None:
                runner._run_tasks()

        self.environment = Environment(user_classes=[ArrivalUser])

    def start_local(self) -> None:
        """Create a local Locust runner and start the user."""
        self.environment.create_local_runner().start(user_count=1, spawn_rate=1)

    def run_task(self, function: Callable[[], None]) -> None:
        """Run `function` in the user's task and wait until it returns. Raises any exception that
        `function` raises."""
        outcome: AsyncResult[None] = AsyncResult()
        self._tasks.put((function, outcome))
        outcome.get()

    def _run_tasks(self) -> None:
        while True:
            function, outcome = self._tasks.get()
            try:
                outcome.set(run_in_thread(function))
            except Exception as error:  # pass it to the caller of `run_task`; Locust would suppress it
                outcome.set_exception(error)
            except gevent.GreenletExit:
                outcome.set_exception(RuntimeError("Locust stopped the user that sends the requests"))
                raise
