"""Compiles all of the simulation, or loads it from the cache, so that the first plan need not wait for it."""

from __future__ import annotations

import numpy as np

from app.planning.simulation.design import FleetDesign
from app.planning.simulation.replica import batch_latencies, request_latencies, token_latencies
from app.planning.simulation.serving import fail_replica
from app.planning.simulation.state import new_fleet
from app.planning.simulation.steady import simulate_steady
from app.records.service import BatchService, RequestService, TokenService


def compile_all() -> None:
    """May run in a thread beside other work: the rest of the program goes on, somewhat slower."""
    requests, batches = RequestService(2, 1.0, 0.5), BatchService(1.0, 0.1, 2)
    tokens = TokenService(0.1, 0.0, 0.0, max_sequences=2, kv_tokens=100)
    times_s, normals, ones = np.arange(3.0), np.zeros(3), np.ones(3, dtype=np.int64)
    design = FleetDesign((requests,))
    simulate_steady(design, 0.1, 40, seeds=(1,))
    fail_replica(new_fleet(design, np.random.SeedSequence(1)), 0, 0.0)
    request_latencies(times_s, normals, requests)
    batch_latencies(times_s, normals, batches)
    token_latencies(times_s, ones, ones, normals, tokens)
