"""Truths with tokens: servers with continuous batching, measured by the product's search.

Servers, lengths and SLOs are those of `tests.studies.llm_truths`, whose event simulation plays them. Unlike there, the
search is the session's own, with stages of a fixed duration, and the peak is drawn from what a replica saturates at
rather than from the true need.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from app.records.offers import Router
from app.records.search import SearchSpec
from tests.studies.llm_truths import Requests, Server, draw_truth, simulate, speed_up_server
from tests.studies.llm_truths import Truth as Drawn
from tests.studies.measuring import Floats, SimulatedRequests

TOKEN_TRUTHS = 200
_STEP_REQUESTS = 500
_ALONE_REQUESTS, _FLEET_REQUESTS, _LONG_TIMES, _EACH, _WARM_UP = 15_000, 12_000, 3, 3_000, 0.1


@dataclasses.dataclass
class TokenTruth:
    drawn: Drawn
    peak_per_s: float
    search: SearchSpec
    seed: int

    @property
    def name(self) -> str:
        return f"tokens, limit: {self.drawn.limit}"

    @property
    def slo(self) -> tuple[str, ...]:
        return self.drawn.slo

    @property
    def router(self) -> Router:
        return self.drawn.router

    @property
    def saturation_per_s(self) -> float:
        return self.drawn.saturation_per_s

    @property
    def _measured(self) -> Server:
        return speed_up_server(self.drawn.server, self.drawn.speed)

    def simulate_stage(self, arrivals_s: Floats, rng: np.random.Generator) -> SimulatedRequests:
        return self._simulate(self._measured, arrivals_s, rng)

    def simulate_replica(self, rate_per_s: float) -> SimulatedRequests:
        rng = np.random.default_rng([self.seed, 2])
        arrivals_s = np.cumsum(rng.exponential(1 / rate_per_s, _ALONE_REQUESTS))
        return self._simulate(self._measured, arrivals_s, rng).without_first(_WARM_UP)

    def simulate_fleet(self, replicas: int, is_long: bool) -> SimulatedRequests:
        """One replica represents all behind a random router or a round robin."""
        rng = np.random.default_rng([self.seed, 3])
        count, simulated, gap_s = _FLEET_REQUESTS * (_LONG_TIMES if is_long else 1), 1, replicas / self.peak_per_s
        every = replicas if self.router == "round-robin" else 1
        if self.router == "least-outstanding":
            count, simulated, gap_s = max(count, _EACH * replicas), replicas, 1 / self.peak_per_s
        arrivals_s = np.cumsum(rng.standard_gamma(every, count) / every * gap_s)
        return self._simulate(self.drawn.server, arrivals_s, rng, simulated).without_first(_WARM_UP)

    def _simulate(
        self, server: Server, arrivals_s: Floats, rng: np.random.Generator, replicas: int = 1
    ) -> SimulatedRequests:
        inputs, outputs = self.drawn.lengths.draw(rng, arrivals_s.size)
        requests = Requests(arrivals_s.tolist(), inputs, outputs)
        times = simulate(server, requests, rng, replicas, self.drawn.router)
        return SimulatedRequests(arrivals_s, times.latency_s, times.first_token_s, inputs, outputs)


def draw_token_truth(number: int, seed: int) -> TokenTruth:
    """Return a server, lengths and an SLO of `llm_truths`, with a peak that 4 to 16 replicas saturate at."""
    drawn = draw_truth(seed, 100_000 + number)
    rng = np.random.default_rng([seed, number, 3])
    saturated = math.exp(rng.uniform(math.log(4), math.log(12 if drawn.router == "least-outstanding" else 16)))
    search = SearchSpec(
        start_per_s=drawn.saturation_per_s * float(rng.uniform(0.1, 0.3)),
        step_duration_s=max(30.0, _STEP_REQUESTS / drawn.saturation_per_s),
        max_duration_s=None,
    )
    return TokenTruth(drawn, saturated * drawn.saturation_per_s, search, int(rng.integers(1 << 30)))
