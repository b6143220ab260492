"""Compilation of the simulation kernels before the first plan. Cached kernels are only loaded.

`python -m app.planning.simulation.precompile` fills the cache.

Both functions may run in a background thread, but slow down other threads somewhat.
"""

from __future__ import annotations

import numpy as np

from app.planning.simulation.activator import make_activator, release_queued_requests, sum_ages_s
from app.planning.simulation.arrivals import iterate_poisson_arrivals
from app.planning.simulation.closed_loop import (
    simulate_closed_batches,
    simulate_closed_requests,
    simulate_closed_tokens,
)
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.replica import (
    simulate_batch_latencies,
    simulate_request_latencies,
    simulate_token_latencies,
)
from app.planning.simulation.results import compute_busy_s
from app.planning.simulation.serving import fail_replica, get_totals, serve, set_routable_replicas
from app.planning.simulation.state import create_fleet
from app.planning.simulation.steady import simulate_steady
from app.records.service import BatchService, RequestService, TokenService

_DESIGN = FleetDesign((RequestService(1, 1.0, 0.5),) * 2)
_TIMES_S, _NORMALS = np.arange(3.0), np.zeros(3)


def compile_planner() -> None:
    """Compile the kernels that a plan needs: steady fleets, bursts, and measured stages of one
    replica."""
    simulate_steady(_DESIGN, 0.1, 40, seeds=(1,))
    next(iterate_poisson_arrivals(np.ones(1), 1.0, np.random.SeedSequence(1), chunk_size=1))
    simulate_request_latencies(_TIMES_S, _NORMALS, RequestService(2, 1.0, 0.5))
    simulate_request_latencies(_TIMES_S, _NORMALS, RequestService(2, 1.0, 0.5, slow_share=0.1, slow_factor=2.0))
    simulate_request_latencies(_TIMES_S, _NORMALS, RequestService(2, 1.0, 0.5, discipline="processor sharing"))
    simulate_batch_latencies(_TIMES_S, _NORMALS, BatchService(1.0, 0.1, 2))


def compile_all() -> None:
    """Compile all kernels, including those of simulated days, of language model replicas and of
    closed loops."""
    compile_planner()
    fleet = create_fleet(_DESIGN, np.random.SeedSequence(1))
    make_activator(fleet, 1)
    set_routable_replicas(fleet, [1])
    serve(fleet, _TIMES_S, _NORMALS)
    sum_ages_s(fleet, 2.0)
    get_totals(fleet)
    compute_busy_s(fleet, 2.0)
    set_routable_replicas(fleet, [0])
    release_queued_requests(fleet, 1, 2.0)
    fail_replica(fleet, 0, 2.0)
    ones = np.ones(3, dtype=np.int64)
    token_service = TokenService(0.1, 0.0, 0.0, max_sequences=2, kv_tokens=100)
    simulate_token_latencies(_TIMES_S, ones, ones, _NORMALS, token_service)
    simulate_closed_requests(2, _NORMALS, RequestService(2, 1.0, 0.5))
    simulate_closed_requests(2, _NORMALS, RequestService(2, 1.0, 0.5, discipline="processor sharing"))
    simulate_closed_batches(2, _NORMALS, BatchService(1.0, 0.1, 2))
    simulate_closed_tokens(2, ones, ones, _NORMALS, token_service)


if __name__ == "__main__":
    compile_all()
