"""The thread that sends: an event loop of its own, beside Locust's.

Locust's part: it starts and watches the user that stands for the sending thread.

Its statistics are never read: they round.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import gevent
from gevent.event import AsyncResult
from gevent.queue import Queue
from locust import User, runners, task
from locust.env import Environment

from loadgen.machine import waited_s

T = TypeVar("T")


class Sender:
    """`event_loop` names what turns: uvloop where there is one."""

    def __init__(self) -> None:
        self.event_loop, self.loop = _new_loop()
        self._thread = threading.Thread(target=self._turn, name="sender", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on the sending thread. From any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def waited_s(self) -> float | None:
        """That the sending thread was ready and had no core, since it began; None where the system does not tell."""
        return None if self._thread.native_id is None else waited_s(self._thread.native_id)

    def _turn(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


def _new_loop() -> tuple[str, asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return "asyncio", asyncio.new_event_loop()
    return "uvloop", uvloop.new_event_loop()


def without_blocking(work: Callable[[], T]) -> T:
    """Wait for `work` on a native thread while Locust's greenlets go on."""
    done: Future[T] = Future()
    gevent.get_hub().threadpool.apply(_keep_outcome, (work, done))
    return done.result()


def _keep_outcome(work: Callable[[], T], done: Future[T]) -> None:
    try:
        done.set_result(work())
    except Exception as error:  # gevent would print it, too
        done.set_exception(error)


class Orchestra:
    """One Locust user, whose task is one stage after the other. It is started once, by whatever runner: Locust orders
    what it starts and stops by the wall clock."""

    def __init__(self) -> None:
        # what Locust finds remarkable is no word of ours: how busy we were is measured and judged elsewhere
        runners.CPU_WARNING_THRESHOLD = sys.maxsize
        logging.getLogger("locust").setLevel(logging.CRITICAL)
        self._stages: Queue[tuple[Callable[[], None], AsyncResult[None]]] = Queue()
        orchestra = self

        class ArrivalUser(User):  # a master starts it by this name
            @task
            def send_stages(self) -> None:
                orchestra._play_on()

        self.environment = Environment(user_classes=[ArrivalUser])

    def start_alone(self) -> None:
        """By a runner of its own."""
        self.environment.create_local_runner().start(user_count=1, spawn_rate=1)

    def play(self, conduct: Callable[[], None]) -> None:
        """Run `conduct` as a task of the user, to its end; what it raises is raised here."""
        outcome: AsyncResult[None] = AsyncResult()
        self._stages.put((conduct, outcome))
        outcome.get()

    def _play_on(self) -> None:
        while True:
            conduct, outcome = self._stages.get()
            try:
                outcome.set(without_blocking(conduct))
            except Exception as error:  # Locust would swallow it; whoever waits for the stage gets it
                outcome.set_exception(error)
            except gevent.GreenletExit:
                outcome.set_exception(RuntimeError("Locust stopped the user that sends"))
                raise
