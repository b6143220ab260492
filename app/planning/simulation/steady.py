"""Simulation of a fleet at one rate for long enough to estimate its percentiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import msgspec
import numpy as np

from app.planning.service_models.service_times import compute_fleet_normals
from app.planning.simulation.arrivals import CHUNK, split_into_chunks
from app.planning.simulation.compiled import Floats
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.random_words import branch
from app.planning.simulation.results import (
    ClassOutcome,
    compute_good_share,
    compute_mean_batch,
    get_histogram,
    reset_counts,
    summarize_classes,
)
from app.planning.simulation.serving import advance_to, serve
from app.planning.simulation.state import BUSY, LATENCY, SUM, Fleet, create_fleet

CELL = 64
_MAX_CACHED = 131_072
"""Maximum number of requests whose random numbers are cached: two megabytes per seed."""
WARM_UP_SHARE, WARM_UP_RESPONSES = 0.05, 10


Result = TypeVar("Result")
_Simulated = tuple[Fleet, float]
"""Fleet after all requests have finished, with its utilization from the end of the warm-up to the last arrival."""


class SteadyOutcome(msgspec.Struct, frozen=True):
    """Results of a simulation.

    `simulated_replicas` of the `replicas` were simulated, at the same rate per replica: fewer where the fleet is larger
    than a cell, which for power of two choices puts p99 up to 2 % high at four times the cell.
    """

    rate_per_s: float
    replicas: int
    simulated_replicas: int
    percentiles: tuple[float, ...]
    overall: ClassOutcome
    classes: tuple[ClassOutcome, ...]
    good_share_per_seed: tuple[float | None, ...]
    utilization: float
    mean_batch: float | None


def simulate_steady(
    design: FleetDesign,
    rate_per_s: float,
    requests: int,
    seeds: Sequence[int] = (1, 2, 3, 4, 5),
    percentiles: Sequence[float] = (50, 90, 95, 99, 99.9),
    arrivals: Sequence[Iterator[Floats]] | None = None,
    workers: int = 2,
    max_replicas: int = CELL,
) -> SteadyOutcome:
    """Simulate `requests` with each seed, from an empty fleet to the end of the last request.

    A warm-up of 5 % or 10 mean responses, whichever is longer, is not counted. Designs with the same seeds share their
    random numbers. `arrivals`, one per seed at the cell's rate, replace Poisson arrivals.
    """
    cell = build_cell(design, max_replicas)
    cell_per_s = rate_per_s * len(cell.services) / len(design.services)
    chunk = max(1, min(CHUNK, requests // 10))

    def play(number: int) -> _Simulated:
        fleet_seed = np.random.SeedSequence(seeds[number]).spawn(3)[2]
        gaps, normals = _draw(seeds[number], requests)
        source = arrivals[number] if arrivals else split_into_chunks(np.cumsum(gaps[:requests] / cell_per_s), chunk)
        varies = any(service.cv > 0 for service in cell.services)
        normals = compute_fleet_normals(normals, cell.services[0])
        return _simulate(
            create_fleet(cell, fleet_seed), _take(source, requests), normals if varies else normals[:0], requests
        )

    results = run_parallel(play, len(seeds), workers)
    utilization = sum(utilization_of_seed for _, utilization_of_seed in results) / len(results)
    return summarize(cell, [fleet for fleet, _ in results], percentiles, rate_per_s, len(design.services), utilization)


def summarize(
    cell: FleetDesign,
    fleets: Sequence[Fleet],
    percentiles: Sequence[float],
    rate_per_s: float,
    replicas: int,
    utilization: float,
) -> SteadyOutcome:
    """Summarize `fleets`, the cell under several seeds.

    `rate_per_s` and `replicas` are those of the represented fleet.
    """
    overall = summarize_classes(fleets, slice(None), percentiles)
    class_count = len(cell.classes)
    return SteadyOutcome(
        rate_per_s=rate_per_s,
        replicas=replicas,
        simulated_replicas=len(cell.services),
        percentiles=tuple(percentiles),
        overall=overall,
        classes=(overall,)
        if class_count == 1
        else tuple(_class_outcome(fleets, index, percentiles) for index in range(class_count)),
        good_share_per_seed=tuple(compute_good_share([fleet.tallies]) for fleet in fleets),
        utilization=utilization,
        mean_batch=compute_mean_batch(fleets),
    )


def run_parallel(run: Callable[[int], Result], count: int, workers: int) -> list[Result]:
    """Run the simulations in threads and return their results in order.

    This thread is one of the workers: starting another takes as long as many simulations.
    """
    numbers, results = iter(range(count)), dict[int, Result]()

    def work() -> None:
        for number in numbers:
            results[number] = run(number)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work) for _ in range(workers - 1)]
        work()
    for future in futures:
        future.result()
    return [results[number] for number in range(count)]


def _class_outcome(fleets: Sequence[Fleet], index: int, percentiles: Sequence[float]) -> ClassOutcome:
    return summarize_classes(fleets, slice(index, index + 1), percentiles)


def build_cell(design: FleetDesign, max_replicas: int = CELL) -> FleetDesign:
    """Return the design with at most `max_replicas` of its replicas.

    They are picked evenly, so that the shares of fast and slow ones are preserved.
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


def _simulate(fleet: Fleet, arrivals: Iterator[Floats], normals: Floats, requests: int) -> tuple[Fleet, float]:
    """Return the fleet after all requests, and its utilization from the end of the warm-up to the last arrival."""
    since_s, now_s, served, is_warm = 0.0, 0.0, 0, False
    for times_s in arrivals:
        serve(fleet, times_s, normals[served : served + times_s.size])
        now_s, served = float(times_s[-1]), served + times_s.size
        if not is_warm and served >= WARM_UP_SHARE * requests and _has_warmed(fleet, now_s, served, requests):
            advance_to(fleet, now_s)
            reset_counts(fleet)
            since_s, is_warm = now_s, True
    advance_to(fleet, now_s)
    busy_s = float(fleet.floats[:, BUSY].sum())
    advance_to(fleet, np.inf)
    return fleet, busy_s / (fleet.floats.shape[0] * (now_s - since_s)) if now_s > since_s else 0.0


def _has_warmed(fleet: Fleet, now_s: float, served: int, requests: int) -> bool:
    """Return whether the warm-up is over, at the latest after half of the run.

    An overloaded fleet never has a typical response.
    """
    answered = int(get_histogram(fleet).sum())
    mean_s = float(fleet.classes[:, SUM + LATENCY].sum()) / answered if answered else np.inf
    return now_s >= WARM_UP_RESPONSES * mean_s or 2 * served >= requests


def _take(source: Iterator[Floats], requests: int) -> Iterator[Floats]:
    remaining = requests
    for times_s in source:
        if times_s.size:
            yield times_s[:remaining]
        remaining -= times_s.size
        if remaining <= 0:
            return


def _draw(seed: int, requests: int) -> tuple[Floats, Floats]:
    """Return at least this many unit exponentials and standard normals; shorter runs use the start of longer ones'."""
    draw = _draw_once if requests <= _MAX_CACHED else _draw_once.__wrapped__
    return draw(seed, 1 << (requests - 1).bit_length())


@lru_cache(20)
def _draw_once(seed: int, count: int) -> tuple[Floats, Floats]:
    """Draw the numbers. All simulations of a search use the same ones, and drawing them takes a quarter of its time."""
    arrival_seed, service_seed, _ = np.random.SeedSequence(seed).spawn(3)
    gaps = np.random.Generator(np.random.SFC64(branch(arrival_seed, 0))).standard_exponential(count)
    return gaps, np.random.Generator(np.random.SFC64(service_seed)).standard_normal(count)
