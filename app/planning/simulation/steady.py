"""A fleet under one rate for as long as it takes to know its percentiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import msgspec
import numpy as np

from app.planning.service_models.service_times import fleet_normals
from app.planning.simulation.arrivals import CHUNK, in_chunks
from app.planning.simulation.chances import branch
from app.planning.simulation.compiled import Floats
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.serving import serve, settle
from app.planning.simulation.state import BUSY, LATENCY, SUM, Fleet, new_fleet
from app.planning.simulation.tallying import (
    ClassOutcome,
    class_outcome,
    forget_counts,
    good_share,
    latency_counts,
    mean_batch,
)

CELL = 64
_LONGEST_KEPT = 131_072
"""Of requests, whose chances are kept: two megabytes a seed."""
WARM_UP_SHARE, WARM_UP_RESPONSES = 0.05, 10


Result = TypeVar("Result")
_Played = tuple[Fleet, float]
"""Once all is answered, with its utilisation from the warm-up's end to the last arrival."""


class SteadyOutcome(msgspec.Struct, frozen=True):
    """`replicas` were meant and `simulated` were played, at the same rate a replica: fewer where the fleet is larger
    than a cell, which for power of two choices puts p99 up to 2 % high at four times the cell.
    """

    rate_per_s: float
    replicas: int
    simulated: int
    percentiles: tuple[float, ...]
    overall: ClassOutcome
    classes: tuple[ClassOutcome, ...]
    good_share_per_seed: tuple[float | None, ...]
    utilisation: float
    mean_batch: float | None


def simulate_steady(
    design: FleetDesign,
    rate_per_s: float,
    requests: int,
    seeds: Sequence[int] = (1, 2, 3, 4, 5),
    percentiles: Sequence[float] = (50, 90, 95, 99, 99.9),
    arrivals: Sequence[Iterator[Floats]] | None = None,
    workers: int = 2,
    most_replicas: int = CELL,
) -> SteadyOutcome:
    """Each seed plays `requests`, from empty to the last one's end; a warm-up of 5 % or 10 mean responses, whichever
    is longer, is not counted. Designs played with the same seeds share their chances. `arrivals`, one a seed and of
    the cell's rate, stand in for Poisson ones.
    """
    cell = cell_of(design, most_replicas)
    cell_per_s = rate_per_s * len(cell.services) / len(design.services)
    chunk = max(1, min(CHUNK, requests // 10))

    def play(number: int) -> _Played:
        of_fleet = np.random.SeedSequence(seeds[number]).spawn(3)[2]
        gaps, normals = _drawn(seeds[number], requests)
        source = arrivals[number] if arrivals else in_chunks(np.cumsum(gaps[:requests] / cell_per_s), chunk)
        varies = any(service.cv > 0 for service in cell.services)
        normals = fleet_normals(normals, cell.services[0])
        return _play(
            new_fleet(cell, of_fleet), _limited(source, requests), normals if varies else normals[:0], requests
        )

    played = side_by_side(play, len(seeds), workers)
    utilization = sum(used for _, used in played) / len(played)
    return outcome_of(cell, [fleet for fleet, _ in played], percentiles, rate_per_s, len(design.services), utilization)


def outcome_of(
    cell: FleetDesign,
    fleets: Sequence[Fleet],
    percentiles: Sequence[float],
    rate_per_s: float,
    replicas: int,
    utilization: float,
) -> SteadyOutcome:
    """`fleets` are the cell under several seeds; `rate_per_s` and `replicas` are of the fleet it stands for."""
    overall = class_outcome(fleets, slice(None), percentiles)
    kinds = len(cell.classes)
    return SteadyOutcome(
        rate_per_s=rate_per_s,
        replicas=replicas,
        simulated=len(cell.services),
        percentiles=tuple(percentiles),
        overall=overall,
        classes=(overall,) if kinds == 1 else tuple(_of_class(fleets, at, percentiles) for at in range(kinds)),
        good_share_per_seed=tuple(good_share([fleet.tallies]) for fleet in fleets),
        utilisation=utilization,
        mean_batch=mean_batch(fleets),
    )


def side_by_side(play: Callable[[int], Result], count: int, workers: int) -> list[Result]:
    """In the order of their numbers. This thread is one of the workers: another takes as long to begin as many a play
    lasts."""
    numbers, played = iter(range(count)), dict[int, Result]()

    def work() -> None:
        for number in numbers:
            played[number] = play(number)

    with ThreadPoolExecutor(workers) as pool:
        others = [pool.submit(work) for _ in range(workers - 1)]
        work()
    for other in others:
        other.result()
    return [played[number] for number in range(count)]


def _of_class(fleets: Sequence[Fleet], at: int, percentiles: Sequence[float]) -> ClassOutcome:
    return class_outcome(fleets, slice(at, at + 1), percentiles)


def cell_of(design: FleetDesign, most: int = CELL) -> FleetDesign:
    """The design, or `most` of its replicas evenly picked, so that faster and slower keep their shares."""
    replicas = len(design.services)
    if replicas <= most:
        return design
    picked = [number * replicas // most for number in range(most)]
    return msgspec.structs.replace(
        design,
        services=tuple(design.services[number] for number in picked),
        weights=tuple(design.weights[number] for number in picked) if design.weights else (),
    )


def _play(fleet: Fleet, arrivals: Iterator[Floats], normals: Floats, requests: int) -> tuple[Fleet, float]:
    """The fleet once all is answered, and its utilisation from the warm-up's end to the last arrival."""
    since_s, now_s, served, warm = 0.0, 0.0, 0, False
    for times_s in arrivals:
        serve(fleet, times_s, normals[served : served + times_s.size])
        now_s, served = float(times_s[-1]), served + times_s.size
        if not warm and served >= WARM_UP_SHARE * requests and _has_warmed(fleet, now_s, served, requests):
            settle(fleet, now_s)
            forget_counts(fleet)
            since_s, warm = now_s, True
    settle(fleet, now_s)
    busy_s = float(fleet.reals[:, BUSY].sum())
    settle(fleet, np.inf)
    return fleet, busy_s / (fleet.reals.shape[0] * (now_s - since_s)) if now_s > since_s else 0.0


def _has_warmed(fleet: Fleet, now_s: float, served: int, requests: int) -> bool:
    """Half of the run at most warms up: of an overloaded fleet no response is ever typical."""
    answered = int(latency_counts(fleet).sum())
    mean_s = float(fleet.classes[:, SUM + LATENCY].sum()) / answered if answered else np.inf
    return now_s >= WARM_UP_RESPONSES * mean_s or 2 * served >= requests


def _limited(source: Iterator[Floats], requests: int) -> Iterator[Floats]:
    left = requests
    for times_s in source:
        if times_s.size:
            yield times_s[:left]
        left -= times_s.size
        if left <= 0:
            return


def _drawn(seed: int, requests: int) -> tuple[Floats, Floats]:
    """At least so many unit exponentials and standard normals; shorter plays take the beginning of longer ones'."""
    draw = _drawn_once if requests <= _LONGEST_KEPT else _drawn_once.__wrapped__
    return draw(seed, 1 << (requests - 1).bit_length())


@lru_cache(20)
def _drawn_once(seed: int, count: int) -> tuple[Floats, Floats]:
    """Every play of a search has the same chances, and to draw them takes a quarter of its time."""
    of_arrivals, of_service, _ = np.random.SeedSequence(seed).spawn(3)
    gaps = np.random.Generator(np.random.SFC64(branch(of_arrivals, 0))).standard_exponential(count)
    return gaps, np.random.Generator(np.random.SFC64(of_service)).standard_normal(count)
