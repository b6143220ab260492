"""Simulation of a fleet at a constant rate, long enough to estimate percentiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import msgspec
import numpy as np

from app.planning.service_models.service_times import compute_fleet_normals
from app.planning.simulation.arrivals import CHUNK_SIZE, split_into_chunks
from app.planning.simulation.compiled import Floats
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.random_words import get_child_seed
from app.planning.simulation.results import (
    ClassOutcome,
    get_histogram,
    reset_counts,
    summarize_classes,
)
from app.planning.simulation.serving import advance_to, serve
from app.planning.simulation.state import BUSY, LATENCY, SUM, Fleet, create_fleet
from app.records.service import ServiceModel

MAX_CELL_REPLICAS = 64
"""Default maximum number of replicas in a simulated cell; larger fleets are simulated as a cell."""
_MAX_CACHED_REQUESTS = 131_072
"""Maximum number of requests whose random numbers are cached. The cache takes 2 MB per seed, and
1 MB more for a two-phase service."""
WARM_UP_SHARE, MIN_WARM_UP_MEAN_LATENCIES = 0.05, 10


Result = TypeVar("Result")
_SeedResult = tuple[Fleet, float]
"""Fleet after all requests have finished, and its utilization from the end of the warm-up to the
last arrival."""


class SteadyOutcome(msgspec.Struct, frozen=True):
    """Results of a steady-state simulation.

    If the fleet of `replicas` is larger than the simulated cell and routing is power-of-two-choices,
    p99 latency is too high, for example by up to 2 % for a fleet of four cells.
    """

    rate_per_s: float
    replicas: int
    percentiles: tuple[float, ...]
    overall: ClassOutcome
    classes: tuple[ClassOutcome, ...]
    utilization: float


def simulate_steady(
    design: FleetDesign,
    rate_per_s: float,
    requests: int,
    seeds: Sequence[int] = (1, 2, 3, 4, 5),
    percentiles: Sequence[float] = (50, 90, 95, 99, 99.9),
    arrivals: Sequence[Iterator[Floats]] | None = None,
    workers: int = 2,
    max_replicas: int = MAX_CELL_REPLICAS,
) -> SteadyOutcome:
    """Simulate `requests` requests with each seed, from an empty fleet to the end of the last
    request.

    Requests of the warm-up are not counted. The warm-up is 5 % of the requests or 10 mean
    latencies, whichever is longer. Simulations with the same seeds share random numbers. `arrivals`
    replaces Poisson arrivals: one iterator per seed, at the rate of the cell.
    """
    cell = build_cell(design, max_replicas)
    cell_rate_per_s = rate_per_s * len(cell.services) / len(design.services)
    chunk_size = max(1, min(CHUNK_SIZE, requests // 10))

    def simulate_seed(seed_index: int) -> _SeedResult:
        fleet_seed = np.random.SeedSequence(seeds[seed_index]).spawn(3)[2]
        gaps, normals = _draw_random_numbers(seeds[seed_index], requests, cell.services[0])
        arrival_chunks = (
            arrivals[seed_index]
            if arrivals
            else split_into_chunks(np.cumsum(gaps[:requests] / cell_rate_per_s), chunk_size)
        )
        has_variable_times = any(service.cv > 0 for service in cell.services)
        return _simulate_requests(
            create_fleet(cell, fleet_seed),
            _limit_requests(arrival_chunks, requests),
            normals if has_variable_times else normals[:0],
            requests,
        )

    results = run_parallel(simulate_seed, len(seeds), workers)
    utilization = sum(seed_utilization for _, seed_utilization in results) / len(results)
    return summarize(cell, [fleet for fleet, _ in results], percentiles, rate_per_s, len(design.services), utilization)


def summarize(
    cell: FleetDesign,
    fleets: Sequence[Fleet],
    percentiles: Sequence[float],
    rate_per_s: float,
    replicas: int,
    utilization: float,
) -> SteadyOutcome:
    """Summarize the results of `fleets`: one cell, simulated with several seeds.

    `rate_per_s` and `replicas` describe the entire fleet that the cell represents.
    """
    overall = summarize_classes(fleets, slice(None), percentiles)
    class_count = len(cell.classes)
    return SteadyOutcome(
        rate_per_s=rate_per_s,
        replicas=replicas,
        percentiles=tuple(percentiles),
        overall=overall,
        classes=(overall,)
        if class_count == 1
        else tuple(_summarize_class(fleets, index, percentiles) for index in range(class_count)),
        utilization=utilization,
    )


def run_parallel(run: Callable[[int], Result], count: int, workers: int) -> list[Result]:
    """Run the simulations in `workers` threads and return their results in order.

    The calling thread is one of the workers, so that one thread fewer has to be started.
    """
    seed_numbers, results = iter(range(count)), dict[int, Result]()

    def run_remaining() -> None:
        for number in seed_numbers:
            results[number] = run(number)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run_remaining) for _ in range(workers - 1)]
        run_remaining()
    for future in futures:
        future.result()
    return [results[number] for number in range(count)]


def _summarize_class(fleets: Sequence[Fleet], index: int, percentiles: Sequence[float]) -> ClassOutcome:
    return summarize_classes(fleets, slice(index, index + 1), percentiles)


def build_cell(design: FleetDesign, max_replicas: int = MAX_CELL_REPLICAS) -> FleetDesign:
    """Return the design of a cell with at most `max_replicas` of the fleet's replicas.

    Replicas are picked evenly, so that the mix of fast and slow replicas is preserved.
    """
    replicas = len(design.services)
    if replicas <= max_replicas:
        return design
    indices = [index * replicas // max_replicas for index in range(max_replicas)]
    return msgspec.structs.replace(
        design,
        services=tuple(design.services[index] for index in indices),
        weights=tuple(design.weights[index] for index in indices) if design.weights else (),
    )


def _simulate_requests(fleet: Fleet, arrivals: Iterator[Floats], normals: Floats, requests: int) -> tuple[Fleet, float]:
    """Simulate all requests; return the fleet, and its utilization from the end of the warm-up to
    the last arrival."""
    warm_up_end_s, now_s, served_count, is_warmed_up = 0.0, 0.0, 0, False
    for times_s in arrivals:
        serve(fleet, times_s, normals[served_count : served_count + times_s.size])
        now_s, served_count = float(times_s[-1]), served_count + times_s.size
        if (
            not is_warmed_up
            and served_count >= WARM_UP_SHARE * requests
            and _is_warmed_up(fleet, now_s, served_count, requests)
        ):
            advance_to(fleet, now_s)
            reset_counts(fleet)
            warm_up_end_s, is_warmed_up = now_s, True
    advance_to(fleet, now_s)
    busy_s = float(fleet.floats[:, BUSY].sum())
    advance_to(fleet, np.inf)
    return fleet, busy_s / (fleet.floats.shape[0] * (now_s - warm_up_end_s)) if now_s > warm_up_end_s else 0.0


def _is_warmed_up(fleet: Fleet, now_s: float, served_count: int, requests: int) -> bool:
    """Return whether the warm-up is over; always true after half of the requests.

    This limit is needed because the mean latency of an overloaded fleet never stops growing.
    """
    responses = int(get_histogram(fleet).sum())
    mean_s = float(fleet.classes[:, SUM + LATENCY].sum()) / responses if responses else np.inf
    return now_s >= MIN_WARM_UP_MEAN_LATENCIES * mean_s or 2 * served_count >= requests


def _limit_requests(arrival_chunks: Iterator[Floats], requests: int) -> Iterator[Floats]:
    remaining_requests = requests
    for times_s in arrival_chunks:
        if times_s.size:
            yield times_s[:remaining_requests]
        remaining_requests -= times_s.size
        if remaining_requests <= 0:
            return


def _draw_random_numbers(seed: int, requests: int, service: ServiceModel) -> tuple[Floats, Floats]:
    """Return at least `requests` unit exponentials, and the normals of the service times.

    Shorter simulations use the first numbers of longer ones with the same seed.
    """
    count = 1 << (requests - 1).bit_length()
    if requests > _MAX_CACHED_REQUESTS:
        gaps, normals = _draw_cached_random_numbers.__wrapped__(seed, count)
        return gaps, compute_fleet_normals(normals, service)
    return _draw_cached_random_numbers(seed, count)[0], _compute_cached_normals(seed, count, service)


@lru_cache(20)
def _compute_cached_normals(seed: int, count: int, service: ServiceModel) -> Floats:
    """Return the normals for a service.

    The result is cached, because the conversion for a two-phase service takes a fifth of the time
    of a simulation.
    """
    return compute_fleet_normals(_draw_cached_random_numbers(seed, count)[1], service)


@lru_cache(20)
def _draw_cached_random_numbers(seed: int, count: int) -> tuple[Floats, Floats]:
    """Draw unit exponentials and standard normals.

    The result is cached, because all simulations of a search use the same numbers. Otherwise
    drawing would take a quarter of the time of a search.
    """
    arrival_seed, service_seed, _ = np.random.SeedSequence(seed).spawn(3)
    gaps = np.random.Generator(np.random.SFC64(get_child_seed(arrival_seed, 0))).standard_exponential(count)
    return gaps, np.random.Generator(np.random.SFC64(service_seed)).standard_normal(count)
