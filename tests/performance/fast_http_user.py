"""The peer: Locust's FastHttpUser as its documentation has it, closed loop. Prints requests and CPU seconds."""

from locust import FastHttpUser, task  # isort: skip  (it patches the sockets the others use)
import sys
import time

import gevent
from locust.env import Environment


class Visitor(FastHttpUser):
    @task
    def get(self) -> None:
        self.client.get("/")


def main(url: str, users: int, seconds: float) -> None:
    environment = Environment(user_classes=[Visitor], host=url)
    runner = environment.create_local_runner()
    runner.start(users, spawn_rate=users)
    gevent.sleep(1)
    before, cpu_s = runner.stats.total.num_requests, time.process_time()
    gevent.sleep(seconds)
    print(runner.stats.total.num_requests - before, time.process_time() - cpu_s)
    runner.quit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
