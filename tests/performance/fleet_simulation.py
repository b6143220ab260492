"""Requests a second of the fleet simulation on one core, by router and service. Budget: 10 M of two choices, streamed.

Rates are of processor time and include arrivals, normals and histograms. `--full` simulates 1e9 requests, too, to show
that memory is bounded. Compilation is measured cold and from the cache.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from app.planning.simulation.arrivals import iterate_poisson_arrivals
from app.planning.simulation.design import ROUTERS, FleetDesign
from app.planning.simulation.histogram import compute_quantiles_s
from app.planning.simulation.precompile import compile_all
from app.planning.simulation.results import get_histogram
from app.planning.simulation.serving import advance_to, get_totals, serve
from app.planning.simulation.state import create_fleet
from app.records.offers import Router
from app.records.service import BatchService, RequestService, TokenService

REQUESTS = 5_000_000
ONE_SLOT = RequestService(1, 1.0, 1.0)
COMPILE = "from app.planning.simulation.precompile import compile_all; compile_all()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    _compile_times()
    compile_all()
    for router in ROUTERS:
        _measure(f"{router}, 16 of 1 slot", FleetDesign((ONE_SLOT,) * 16, router), 0.85 * 16)
    of_two: Router = "power-of-two"
    _measure("two choices, 16 of 1 slot, cv 0", FleetDesign((RequestService(1, 1.0, 0.0),) * 16, of_two), 0.85 * 16)
    _measure("two choices, 64 of 1 slot", FleetDesign((ONE_SLOT,) * 64, of_two), 0.85 * 64)
    _measure("two choices, 16 of 8 slots", FleetDesign((RequestService(8, 1.0, 1.0),) * 16, of_two), 0.85 * 128)
    _measure("two choices, 16 of batches", FleetDesign((BatchService(0.01, 0.001, 32, cv=0.1),) * 16, of_two), 8000.0)
    tokens = TokenService(0.01, 1e-4, 1e-5, 64, 200_000, per_kv_token_s=1e-8, cv=0.1)
    lengths = ((200, 100), (50, 150), (1000, 200))
    _measure("two choices, 16 of tokens", FleetDesign((tokens,) * 16, of_two, lengths=lengths), 300.0, REQUESTS // 10)
    for requests in (100_000_000, *((1_000_000_000,) if arguments.full else ())):
        _measure(f"two choices, {requests:,} requests", FleetDesign((ONE_SLOT,) * 16, of_two), 0.85 * 16, requests)


def _measure(label: str, design: FleetDesign, rate_per_s: float, requests: int = REQUESTS) -> None:
    start = time.process_time()
    p99_s = _simulate(design, rate_per_s, requests)
    used_s = time.process_time() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(
        f"{label:36} {requests / used_s / 1e6:6.1f} M/s   p99 {p99_s:7.3f} s   process peak {peak_mib:.0f} MiB",
        flush=True,
    )


def _simulate(design: FleetDesign, rate_per_s: float, requests: int) -> float:
    of_arrivals, of_service, of_fleet = np.random.SeedSequence(1).spawn(3)
    fleet = create_fleet(design, of_fleet)
    normals = np.random.Generator(np.random.SFC64(of_service))
    varies, remaining = design.services[0].cv > 0, requests
    for times_s in iterate_poisson_arrivals(np.array([rate_per_s]), np.inf, of_arrivals):
        serve(fleet, times_s[:remaining], normals.standard_normal(times_s.size) if varies else np.empty(0))
        remaining -= times_s.size
        if remaining <= 0:
            break
    advance_to(fleet, np.inf)
    assert get_totals(fleet).arrivals == requests
    return compute_quantiles_s(get_histogram(fleet), (0.99,))[0] or 0.0


def _compile_times() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for label in ("cold", "cached"):
            start = time.perf_counter()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", COMPILE], check=True, env={**os.environ, "NUMBA_CACHE_DIR": folder})
            used_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before.ru_utime
            print(
                f"a new process, {label}: {time.perf_counter() - start:.1f} s, {used_s:.1f} s of processor", flush=True
            )


if __name__ == "__main__":
    main()
