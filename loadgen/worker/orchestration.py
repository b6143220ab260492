"""Locust's part: it starts, watches and stops the user that stands for the sending thread.

Its statistics are never read: they round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import gevent
from gevent.event import AsyncResult
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

T = TypeVar("T")


def without_blocking(work: Callable[[], T]) -> T:
    """Wait for `work` on a native thread while Locust's greenlets go on."""
    return cast(T, gevent.get_hub().threadpool.apply(work))


class Orchestra:
    """A local runner with one kind of user, whose one task is the stage."""

    def __init__(self) -> None:
        self._conduct: Callable[[], None] = lambda: None
        self._outcome: AsyncResult = AsyncResult()
        orchestra = self

        class ArrivalUser(User):
            @task
            def send_arrivals(self) -> None:
                orchestra._play()
                raise StopUser

        self._runner = Environment(user_classes=[ArrivalUser]).create_local_runner()

    def play(self, conduct: Callable[[], None]) -> None:
        """Run `conduct` as the task of one user, to its end; what it raises is raised here."""
        self._conduct, self._outcome = conduct, AsyncResult()
        self._runner.start(user_count=1, spawn_rate=1)
        try:
            self._outcome.get()
        finally:
            self._runner.stop()

    def _play(self) -> None:
        try:
            self._outcome.set(without_blocking(self._conduct))
        except Exception as error:  # Locust would swallow it; whoever waits for the stage gets it
            self._outcome.set_exception(error)
