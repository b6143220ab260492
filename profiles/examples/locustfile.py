"""A Locust test of the endpoint of server.py."""

from locust import HttpUser, constant, task


class Scorer(HttpUser):
    wait_time = constant(0.05)

    @task
    def score(self) -> None:
        self.client.post("/score", json={"features": [0.1, 0.2]})
