"""How often a plan's interval covers the truth: python -m tests.studies.coverage prints the tables of the docs.

A server with a known service model is measured as a search measures, in virtual time, and a fleet is planned from that.
In production every replica has that service model too, except for a speed that one run cannot determine. The peak takes
well over a hundred replicas, so that whole numbers do not blur the interval. The truth comes from longer runs of the
same simulation.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from app.analysis.objectives import parse_objective
from app.analysis.sample_size import count_needed_samples
from app.analysis.search import RateSearch
from app.planning.fleets import plan_fleets
from app.planning.service_models.evidence import RUN_TO_RUN_SIGMA
from app.planning.service_models.measured import build_measured_target
from app.planning.service_models.service_times import speed_up
from app.planning.simulation.replica import simulate_batch_latencies, simulate_request_latencies
from app.planning.simulation.replica_kernels import simulate_requests
from app.planning.sizing.fleet_rate import FleetShape, find_highest_rate
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.offers import CapacityCurve, CurvePoint, PlanLimits, Router
from app.records.planning_inputs import MeasuredLoadPoint, MeasuredTarget, PlanningInputs
from app.records.result import Hardware, Traffic
from app.records.service import BatchService, RequestService
from tests.fakes.offers import TODAY, catalog_of, offer

Family = Literal["requests", "batches", "exponential requests", "batches with a window"]
Floats = NDArray[np.float64]
QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
REPLICAS_AT_THE_PEAK = 160
CELL = 64
TRUE_REQUESTS = 200_000
"""A seed."""
Z80, Z95 = 1.281552, 1.959964


class Truth(NamedTuple):
    """`service` is of a replica in production; `speed` is how much faster the measured one happened to be."""

    family: Family
    service: RequestService | BatchService
    speed: float
    slo: str
    router: Router
    requests: int
    is_by_time: bool
    """Whether each stage takes as long as another, and not as many requests."""


class Outcome(NamedTuple):
    family: Family
    router: Router
    rates: int
    why_not: str | None
    """Why there is no fit, or no rate that holds."""
    ratio: float = math.nan
    """The rate of a replica in the planned fleet over the true one."""
    sigma: float = math.nan
    is_inside: bool = False
    is_inside_95: bool = False
    is_carried: bool = False
    """Whether the planned fleet meets the SLO at the peak."""
    is_capped: bool = False
    """Whether the plan says no more than what one replica was seen to answer."""

    @property
    def deviations(self) -> float:
        return math.log(self.ratio) / self.sigma


def draw_truth(seed: int, family: Family) -> Truth:
    rng = np.random.default_rng(seed)

    def between(low: float, high: float) -> float:
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))

    quantile, percentile = (0.95, "p95") if rng.random() < 0.6 else (0.99, "p99")
    service: RequestService | BatchService
    if family in ("requests", "exponential requests"):
        cv = 1.0 if family == "exponential requests" else float(rng.uniform(0.2, 1.5))
        mean_s = between(0.002, 0.2)
        service = RequestService(int(rng.integers(1, 9)), mean_s, cv, mean_s * between(0.05, 1.0))
        variance = math.log1p(cv * cv)
        lognormal_s = mean_s * math.exp(math.sqrt(variance) * stats.norm.ppf(quantile) - variance / 2)
        alone_s = -mean_s * math.log(1 - quantile) if family == "exponential requests" else lognormal_s
        limit_s = service.outside_s + alone_s * between(1.15, 3.0)
    else:
        fixed_s, most = between(0.002, 0.1), int(2 ** rng.integers(2, 7))
        window_s = fixed_s * between(0.2, 2.0) if family == "batches with a window" else 0.0
        service = BatchService(
            fixed_s, fixed_s * between(0.02, 0.5), most, window_s, float(rng.uniform(0.02, 0.3)),
            fixed_s * between(0.02, 0.5),
        )  # fmt: skip
        alone_s = window_s + fixed_s + service.per_item_s
        limit_s = service.outside_s + alone_s * between(2.2, 6.0)
    return Truth(
        family,
        service,
        math.exp(rng.normal(0.0, RUN_TO_RUN_SIGMA)),
        f"latency_ms.{percentile} < {1000 * limit_s:.6g}",
        _router(rng, family),
        round(between(1000, 9000)),
        bool(rng.random() < 0.5),
    )


def _router(rng: np.random.Generator, family: Family) -> Router:
    """For exponential requests, only routers that separate the replicas have a known result."""
    routers: tuple[Router, ...] = ("round-robin", "random", "power-of-two", "least-outstanding")
    return routers[int(rng.integers(0, 2 if family == "exponential requests" else 4))]


def stage_latencies(truth: Truth, per_s: float, requests: int, rng: np.random.Generator, shape: int = 1) -> Floats:
    """Latencies of an initially empty replica of the measured speed, for every `shape`-th of a Poisson stream."""
    service = speed_up(truth.service, truth.speed)
    arrivals_s = np.cumsum(rng.gamma(shape, 1 / (shape * per_s), requests))
    if isinstance(service, BatchService):
        return simulate_batch_latencies(arrivals_s, rng.standard_normal(requests), service)
    assert isinstance(service, RequestService)
    if truth.family != "exponential requests":
        return simulate_request_latencies(arrivals_s, rng.standard_normal(requests), service)
    latencies_s, ends = np.empty(requests), np.array([requests])
    times_s, free_s = rng.exponential(service.mean_s, requests), np.empty(service.slots)
    simulate_requests(arrivals_s, times_s, ends, free_s, service.outside_s, latencies_s)
    return latencies_s


def load_point(per_s: float, latencies_s: Floats, rng: np.random.Generator) -> MeasuredLoadPoint:
    """A load point as a run reports it: percentiles with enough samples, and requests completed within the stage."""
    ordered, count = np.sort(latencies_s), latencies_s.size
    latency_by_percentile = {
        name: float(ordered[math.ceil(q * count) - 1])
        for name, q in QUANTILES.items()
        if count >= count_needed_samples(q)
    }
    duration_s = count / per_s
    ends_s = np.sort(rng.uniform(0, duration_s, count)) + latencies_s
    completed = int(np.count_nonzero(ends_s <= duration_s))
    return MeasuredLoadPoint(
        per_s, None, completed / duration_s, duration_s, count, 0, {"latency": latency_by_percentile}
    )


def measure(truth: Truth, rng: np.random.Generator) -> MeasuredTarget | None:
    """Measure by the product's search, in some 8 to 14 stages. None if no rate met the SLO."""
    objective = parse_objective(truth.slo)
    limit_s, quantile = objective.limit / 1000, QUANTILES[objective.aggregate or ""]
    service = speed_up(truth.service, truth.speed)
    assert isinstance(service, (RequestService, BatchService))
    most = service.max_throughput_per_s
    search = RateSearch(most * float(rng.uniform(0.08, 0.3)), repeats=3, max_probes=14)
    load_points: list[MeasuredLoadPoint] = []
    points: list[CurvePoint] = []
    while (probe := search.next_probe()) is not None:
        share = probe.rate_per_s / most if truth.is_by_time else 1.0
        requests = min(9000, max(100, round(truth.requests * share)))
        latencies_s = stage_latencies(truth, probe.rate_per_s, requests, rng)
        time_s = float(np.quantile(latencies_s, quantile, method="inverted_cdf"))
        meets_slo = time_s < limit_s
        search.record_result(probe, meets_slo)
        load_points.append(load_point(probe.rate_per_s, latencies_s, rng))
        points.append(CurvePoint(probe.rate_per_s, 1000 * time_s, probe.rate_per_s, meets_slo))
    max_rate_per_s = search.get_outcome().max_rate_per_s or search.get_outcome().bracket[0]
    if max_rate_per_s is None:
        return None
    curve = CapacityCurve(tuple(points), f"latency_ms.{objective.aggregate}", max_rate_per_s, None, None)
    return build_measured_target("measured", Hardware("acme/c16", offer="acme/c16", vcpus=16), curve, load_points)


def find_true_rate(truth: Truth) -> float:
    """Rate of each of 64 replicas in production, by longer simulations; 0 if hardly any load meets the SLO."""
    shape = FleetShape(truth.router, build_slo_objectives([parse_objective(truth.slo)]))
    if truth.family != "exponential requests":
        near, _ = find_highest_rate(
            truth.service, shape, CELL, truth.service.max_throughput_per_s / 2, (20_000, 0), 0.02
        )
        return find_highest_rate(truth.service, shape, CELL, near, (TRUE_REQUESTS, 0), 0.003)[0]
    missed_by, most = _create_miss_function(truth, shape), truth.service.max_throughput_per_s
    low, high = math.log(0.02 * most), math.log(0.999 * most)
    if missed_by(math.exp(low)) > 0:
        return 0.0
    for _ in range(11):  # to 0.2 %
        middle = (low + high) / 2
        low, high = (middle, high) if missed_by(math.exp(middle)) <= 0 else (low, middle)
    return math.exp(low)


def _create_miss_function(truth: Truth, shape: FleetShape) -> Callable[[float], float]:
    """Round robin over 64 sends each replica every 64th request of a Poisson stream, and random a Poisson stream."""
    objective, in_production = shape.objectives.latency_objectives[0], truth._replace(speed=1.0)
    every = CELL if truth.router == "round-robin" else 1

    def missed_by(per_s: float) -> float:
        latencies_s = stage_latencies(in_production, per_s, 400_000, np.random.default_rng(1), every)
        return math.log(float(np.quantile(latencies_s[20_000:], objective.quantile or 0.5)) / objective.limit_s)

    return missed_by


def check_truth(seed: int, family: Family) -> Outcome:
    truth = draw_truth(seed, family)
    target = measure(truth, np.random.default_rng([seed, 1]))
    if target is None:
        return Outcome(family, truth.router, 0, "no rate held")
    rates = len(target.curve.points)
    if target.fit is None:
        return Outcome(family, truth.router, rates, target.no_fit_reason)
    per_s = find_true_rate(truth)
    if per_s <= 0:
        return Outcome(family, truth.router, rates, "no load is light enough in production")
    peak_per_s = REPLICAS_AT_THE_PEAK * per_s
    question = PlanningInputs(
        (target,), Traffic(peak_per_s, "flat", (1.0,) * 24), (parse_objective(truth.slo),),
        PlanLimits(confidence=0.9, redundancy=0, router=truth.router), catalog_of(offer()), TODAY,
    )  # fmt: skip
    fleet = plan_fleets(question).offers[0]
    needs, capacity = fleet.instances_needed, fleet.capacity_per_instance_per_s
    if needs is None or fleet.instances is None or capacity.value is None or capacity.ci95 is None:
        return Outcome(family, truth.router, rates, fleet.rejected)
    sigma = math.log(capacity.value / capacity.ci95[0]) / Z95
    return Outcome(
        family, truth.router, rates, None,
        ratio=capacity.value / per_s,
        sigma=sigma,
        is_inside=needs.p10 <= math.ceil(peak_per_s / per_s - 1e-9) <= needs.p90,
        is_inside_95=capacity.ci95[0] <= per_s <= capacity.ci95[1],
        is_carried=fleet.instances * per_s >= peak_per_s,
        is_capped=capacity.value >= target.fit.highest_per_s * (1 - 1e-9),
    )  # fmt: skip


def check_truths(families: Sequence[Family], draws: int, processes: int, first_seed: int = 0) -> Iterator[Outcome]:
    keys = [(first_seed + number, family) for number in range(draws) for family in families]
    if processes == 1:
        yield from (check_truth(*key) for key in keys)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(check_truth, *zip(*keys, strict=True))


def binomial_interval(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a share, by Clopper and Pearson."""
    interval = stats.binomtest(hits, of).proportion_ci(0.95)
    return float(interval.low), float(interval.high)


HEAD = (
    "| truth | plans | P10–P90 covers it | 95 % covers it | SLO met at 90 % confidence | median error | rate over true "
)
HEAD += "| spread of deviations |"


def row(name: str, outcomes: Sequence[Outcome]) -> str:
    planned = [outcome for outcome in outcomes if outcome.why_not is None]
    if not planned:
        return f"| {name} | 0 of {len(outcomes)} |"
    shares = []
    for hits in ("is_inside", "is_inside_95", "is_carried"):
        count = sum(getattr(outcome, hits) for outcome in planned)
        low, high = binomial_interval(count, len(planned))
        shares.append(f"{100 * count / len(planned):.0f} % ({100 * low:.0f}–{100 * high:.0f})")
    logs = np.log([outcome.ratio for outcome in planned])
    deviations = np.array([outcome.deviations for outcome in planned])
    reported = f"{100 * float(np.median(np.abs(logs))):.1f} % | ×{math.exp(float(np.median(logs))):.3f}"
    width = (np.quantile(deviations, 0.9) - np.quantile(deviations, 0.1)) / (2 * Z80)
    return f"| {name} | {len(planned)} of {len(outcomes)} | {' | '.join(shares)} | {reported} | {width:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=240, help="of each family of truths")
    parser.add_argument("--family", choices=get_args(Family), action="append")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", action="store_true", help="a line for every draw")
    arguments = parser.parse_args()
    families: Sequence[Family] = arguments.family or get_args(Family)
    outcomes = []
    for outcome in check_truths(families, arguments.draws, arguments.processes, arguments.seed):
        outcomes.append(outcome)
        if arguments.each:
            print(outcome, flush=True)
    print(HEAD)
    print("|---|---|---|---|---|---|---|---|")
    for family in families:
        print(row(family, [outcome for outcome in outcomes if outcome.family == family]))
    own = [outcome for outcome in outcomes if outcome.family in ("requests", "batches")]
    if own:
        print(row("both of the fitted family", own))
    for router in ("round-robin", "random", "power-of-two", "least-outstanding"):
        if alike := [outcome for outcome in own if outcome.router == router]:
            print(row(f"… {router}", alike))
    for why in sorted({outcome.why_not for outcome in outcomes if outcome.why_not}):
        print(f"no plan: {why} ({sum(outcome.why_not == why for outcome in outcomes)})")


if __name__ == "__main__":
    main()
