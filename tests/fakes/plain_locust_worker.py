"""Locust's own worker, started without Sizewise, at the port given as argument. It prints what happened."""

from __future__ import annotations

import os
import sys

os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

from locust import User, runners, task
from locust.env import Environment

runners.CONNECT_TIMEOUT, runners.CONNECT_RETRY_COUNT = 1, 0


class Anybody(User):
    @task
    def do_nothing(self) -> None:
        """Never run."""


try:
    Environment(user_classes=[Anybody]).create_worker_runner("127.0.0.1", int(sys.argv[1]))
    print("let in", flush=True)
except ConnectionError:
    print("not let in", flush=True)
os._exit(0)
