"""Plans of known servers, evaluated by an independent event simulator.

Run with `python -m tests.studies.request_truths --state FILE`.

Each seed draws ten truths: a service (slots with gamma, lognormal, hyperexponential, bimodal or Pareto times, processor
sharing, or batches with a window), a router, an SLO and a peak. One replica is measured as a run measures it, with the
product's search, but every latency comes from `event_simulator`. The product plans a fleet from the load points. The
event simulator then finds how many replicas the peak needs, by playing fleets at that peak.

Seeds 1–20 are for development; the result that counts is of seeds 101–120. A truth takes about ten seconds. Each one
is a line in the state file, so a run that was stopped continues where it ended. A bound fails only where the 95 %
binomial interval of the share lies outside it. Exit code 1 where a bound fails.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from app.analysis.objectives import parse_objective
from app.analysis.sample_size import count_needed_samples
from app.analysis.search import RateSearch
from app.planning.fleets import plan_fleets
from app.planning.service_models.evidence import collect_evidence
from app.planning.service_models.measured import build_measured_target
from app.records.offers import CapacityCurve, CurvePoint, PlanLimits
from app.records.planning_inputs import MeasuredLoadPoint, MeasuredTarget, PlanningInputs
from app.records.result import Hardware, Traffic
from tests.fakes.offers import TODAY, catalog_of, offer
from tests.studies.event_simulator import ROUTERS, Batches, ProcessorSharing, Replica, Router, Slots, simulate

Family = Literal["gamma", "lognormal", "hyperexponential", "bimodal", "pareto", "processor sharing", "batches"]
FAMILIES: tuple[Family, ...] = get_args(Family)
Floats = NDArray[np.float64]
QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
TRUTHS_PER_SEED = 10
RUN_TO_RUN_SIGMA = 0.02
CONFIDENCE = 0.9
WARM_UP = 0.25
EVALUATED_REQUESTS, EVALUATED_REQUESTS_PER_REPLICA = 100_000, 2_000
"""Requests of an evaluation, and the least number for each replica: queues near saturation take long to grow."""
MAX_REPLICAS = 400


class Truth(msgspec.Struct, frozen=True):
    """A service in production, its traffic, and how it was measured.

    `shape` is the second parameter of the family: the coefficient of variation, of bimodal times how many times as long
    the slow ones take, of Pareto times the tail index.
    """

    family: Family
    width: int
    """Slots, cores, or the largest batch."""
    mean_s: float
    """Mean service time; of batches the fixed part."""
    shape: float
    slow_share: float
    per_item_s: float
    window_s: float
    outside_s: float
    aggregate: str
    limit_s: float
    router: Router
    peak_per_s: float
    speed: float
    """How much faster the measured replica happened to be."""
    stage_requests: int

    @property
    def most_per_s(self) -> float:
        if self.family == "batches":
            return self.width / (self.mean_s + self.per_item_s * self.width)
        return self.width / self.mean_s

    @property
    def slo(self) -> str:
        return f"latency_ms.{self.aggregate} < {1000 * self.limit_s:.6g}"

    def new_replica(self, speed: float = 1.0) -> Replica:
        if self.family == "processor sharing":
            return ProcessorSharing(self.width)
        if self.family == "batches":
            return Batches(self.mean_s / speed, self.per_item_s / speed, self.width, self.window_s)
        return Slots(self.width)

    def services_s(self, count: int, rng: np.random.Generator) -> Floats:
        """Service times; of batches the factor of each."""
        cv = self.shape
        match self.family:
            case "gamma":
                return rng.gamma(1 / cv**2, self.mean_s * cv**2, count)
            case "hyperexponential":  # of balanced means: either phase brings half of the work
                first = (1 + math.sqrt((cv**2 - 1) / (cv**2 + 1))) / 2
                is_first = rng.random(count) < first
                means = np.where(is_first, self.mean_s / (2 * first), self.mean_s / (2 * (1 - first)))
                return rng.exponential(1.0, count) * means
            case "bimodal":
                fast_s = self.mean_s / (1 + self.slow_share * (cv - 1))
                return np.where(rng.random(count) < self.slow_share, fast_s * cv, fast_s)
            case "pareto":
                return (rng.pareto(cv, count) + 1) * self.mean_s * (cv - 1) / cv
            case "batches":
                return _lognormal(cv, count, rng)
            case _:
                return self.mean_s * _lognormal(cv, count, rng)


class Outcome(msgspec.Struct, frozen=True):
    """What the product planned, and what is true. Rates are of one replica."""

    seed: int
    number: int
    family: Family
    router: Router
    needed: int
    """0 where one more replica never helps."""
    why_not: str | None = None
    state: str = "known"
    bought: int = 0
    p10: float = 0.0
    p90: float = 0.0
    stated: float | None = None
    """P(SLO met) as the plan states it."""
    is_above_a_miss: bool = False
    is_below_a_pass: bool = False
    seconds: float = 0.0

    @property
    def is_covered(self) -> bool:
        return self.p10 <= self.needed <= self.p90

    @property
    def is_met(self) -> bool:
        return self.bought >= self.needed

    @property
    def ratio(self) -> float:
        return self.bought / self.needed


def _lognormal(cv: float, count: int, rng: np.random.Generator) -> Floats:
    variance = math.log1p(cv * cv)
    return np.exp(math.sqrt(variance) * rng.standard_normal(count) - variance / 2)


def draw_truth(seed: int, number: int) -> Truth:
    """Draw a truth. Families and routers rotate, so that each seed has all of both."""
    rng = np.random.default_rng([seed, number])

    def between(low: float, high: float) -> float:
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))

    position = seed * TRUTHS_PER_SEED + number
    family, router = FAMILIES[position % len(FAMILIES)], ROUTERS[position % len(ROUTERS)]
    aggregate = "p95" if rng.random() < 0.6 else "p99"
    mean_s, per_item_s, window_s = between(0.002, 0.2), 0.0, 0.0
    width = int(rng.integers(1, 9))
    shape = {
        "gamma": float(rng.uniform(0.2, 1.5)),
        "lognormal": float(rng.uniform(0.2, 1.5)),
        "hyperexponential": math.sqrt(float(rng.uniform(2.0, 6.0))),
        "bimodal": between(4.0, 20.0),
        "pareto": float(rng.uniform(2.2, 3.5)),
        "processor sharing": float(rng.uniform(0.2, 1.0)),
        "batches": float(rng.uniform(0.02, 0.3)),
    }[family]
    if family == "batches":
        width, per_item_s = int(2 ** rng.integers(1, 6)), mean_s * between(0.02, 0.5)
        window_s = mean_s * between(0.1, 2.0)
    truth = Truth(
        family, width, mean_s, shape, float(rng.uniform(0.05, 0.25)), per_item_s, window_s, mean_s * between(0.05, 1.0),
        aggregate, 1.0, router, 1.0, math.exp(rng.normal(0.0, RUN_TO_RUN_SIGMA)), round(between(1000, 6000)),
    )  # fmt: skip
    if family == "batches":
        limit_s = truth.outside_s + (window_s + mean_s + per_item_s) * between(2.2, 6.0)
    else:
        alone_s = float(np.quantile(truth.services_s(100_000, rng), QUANTILES[aggregate]))
        limit_s = truth.outside_s + alone_s * between(1.15, 3.0)
    peak_per_s = truth.most_per_s * float(rng.uniform(0.55, 0.8)) * between(8, 40)
    return msgspec.structs.replace(truth, limit_s=limit_s, peak_per_s=peak_per_s)


def stage_latencies(truth: Truth, per_s: float, rng: np.random.Generator) -> Floats:
    """Latencies of the measured replica, initially empty, under Poisson arrivals."""
    arrivals_s = np.cumsum(rng.exponential(1 / per_s, truth.stage_requests)).tolist()
    services_s = truth.services_s(truth.stage_requests, rng)
    if truth.family != "batches":
        services_s = services_s / truth.speed
    new: Callable[[], Replica] = lambda: truth.new_replica(truth.speed)  # noqa: E731
    latencies_s = simulate(arrivals_s, services_s.tolist(), new, 1, "random", int(rng.integers(1 << 30)))
    return np.array(latencies_s) + truth.outside_s


def measure(truth: Truth, rng: np.random.Generator) -> MeasuredTarget | None:
    """Measure a replica by the product's search, in 8 to 14 stages; None if no rate met the SLO."""
    most = truth.most_per_s * truth.speed
    search = RateSearch(most * float(rng.uniform(0.08, 0.3)), repeats=3, max_probes=14)
    load_points: list[MeasuredLoadPoint] = []
    points: list[CurvePoint] = []
    while (probe := search.next_probe()) is not None:
        latencies_s = stage_latencies(truth, probe.rate_per_s, rng)
        time_s = float(np.quantile(latencies_s, QUANTILES[truth.aggregate], method="inverted_cdf"))
        met = time_s < truth.limit_s
        search.record_result(probe, met)
        load_points.append(_load_point(probe.rate_per_s, latencies_s, rng))
        points.append(CurvePoint(probe.rate_per_s, 1000 * time_s, probe.rate_per_s, met))
    max_rate_per_s = search.get_outcome().max_rate_per_s or search.get_outcome().bracket[0]
    if max_rate_per_s is None:
        return None
    curve = CapacityCurve(tuple(points), f"latency_ms.{truth.aggregate}", max_rate_per_s, None, None)
    return build_measured_target("measured", Hardware("acme/c16", offer="acme/c16", vcpus=16), curve, load_points)


def _load_point(per_s: float, latencies_s: Floats, rng: np.random.Generator) -> MeasuredLoadPoint:
    """A load point with the percentiles that have enough samples, and the requests completed within the stage."""
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


def replicas_needed(truth: Truth) -> int:
    """The fewest replicas that meet the SLO at the peak; 0 where not even MAX_REPLICAS do.

    By bisection with shorter simulations, and then one by one with simulations four times as long: in short ones the
    percentile scatters by 3 %.
    """

    def is_met(replicas: int, times: int = 1) -> bool:
        latencies_s = _steady_latencies(truth, replicas, times, np.random.default_rng(7))
        return bool(np.quantile(latencies_s, QUANTILES[truth.aggregate], method="inverted_cdf") < truth.limit_s)

    least = math.ceil(truth.peak_per_s / truth.most_per_s)
    low, high = least - 1, max(2, least + 1)
    while not is_met(high):
        low, high = high, high + 2 * (high - low)
        if high > MAX_REPLICAS:
            return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_met(middle) else (middle, high)
    while not is_met(high, times=4):
        high += 1
    while high > least and is_met(high - 1, times=4):
        high -= 1
    return high


def _steady_latencies(truth: Truth, replicas: int, times: int, rng: np.random.Generator) -> Floats:
    """Latencies of a fleet at the peak, of `times` the usual number of requests.

    Behind a random router each replica has Poisson arrivals of its own, and in a round robin every n-th request, so
    that one replica stands for all.
    """
    if truth.router in ("random", "round-robin"):
        every = replicas if truth.router == "round-robin" else 1
        gaps = rng.standard_gamma(every, times * EVALUATED_REQUESTS) / every
        arrivals_s, simulated = np.cumsum(gaps * replicas / truth.peak_per_s), 1
    else:
        requests = times * max(EVALUATED_REQUESTS, EVALUATED_REQUESTS_PER_REPLICA * replicas)
        arrivals_s, simulated = np.cumsum(rng.exponential(1 / truth.peak_per_s, requests)), replicas
    services_s = truth.services_s(arrivals_s.size, rng)
    latencies_s = simulate(
        arrivals_s.tolist(), services_s.tolist(), truth.new_replica, simulated, truth.router, int(rng.integers(1 << 30))
    )
    return np.array(latencies_s)[int(WARM_UP * len(latencies_s)) :] + truth.outside_s


def check_truth(seed: int, number: int) -> Outcome:
    started = time.monotonic()
    truth = draw_truth(seed, number)
    outcome = Outcome(seed, number, truth.family, truth.router, 0)
    target = measure(truth, np.random.default_rng([seed, number, 1]))
    if target is None:
        return msgspec.structs.replace(outcome, why_not="no rate met the SLO in the measurement")
    needed = replicas_needed(truth)
    if needed == 0:
        return msgspec.structs.replace(outcome, why_not="no number of replicas meets the SLO")
    slo = (parse_objective(truth.slo),)
    question = PlanningInputs(
        (target,), Traffic(truth.peak_per_s, "flat", (1.0,) * 24), slo,
        PlanLimits(confidence=CONFIDENCE, redundancy=0, router=truth.router), catalog_of(offer()), TODAY,
    )  # fmt: skip
    plan = plan_fleets(question)
    fleet, state = plan.offers[0], "known" if plan.capacity_knowledge is None else plan.capacity_knowledge.state
    outcome = msgspec.structs.replace(outcome, needed=needed, state=state, seconds=time.monotonic() - started)
    needs, capacity = fleet.instances_needed, fleet.capacity_per_instance_per_s.value
    if fleet.instances is None or needs is None or capacity is None:
        return msgspec.structs.replace(outcome, why_not=f"refused: {fleet.rejected}")
    evidence = collect_evidence(target, slo)
    misses = evidence.interval[1] if truth.router == "random" else max(p.achieved_per_s for p in target.load_points)
    # a plan is for whole replicas: one fewer has to be too few
    each_per_s = truth.peak_per_s / max(1, fleet.instances - 1)
    return msgspec.structs.replace(
        outcome,
        bought=fleet.instances, p10=needs.p10, p90=needs.p90,
        stated=None if fleet.slo_probabilities is None else fleet.slo_probabilities.planned,
        is_above_a_miss=capacity > misses * (1 + 1e-9),
        is_below_a_pass=each_per_s < 0.8 * evidence.always_met_rate_per_s,
        seconds=time.monotonic() - started,
    )  # fmt: skip


def check_truths(seeds: Sequence[int], state: Path | None, processes: int, truths: int) -> Iterator[Outcome]:
    """Yield the outcomes of the state file, then the others, each stored as soon as it is evaluated."""
    stored: dict[tuple[int, int], Outcome] = {}
    if state is not None and state.exists():
        for line in state.read_bytes().splitlines():
            outcome = msgspec.json.decode(line, type=Outcome)
            stored[outcome.seed, outcome.number] = outcome
    keys = [(seed, number) for seed in seeds for number in range(truths)]
    yield from (stored[key] for key in keys if key in stored)
    missing = [key for key in keys if key not in stored]
    if processes == 1:
        yield from _stored((check_truth(*key) for key in missing), state)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from _stored(pool.map(check_truth, *zip(*missing, strict=True)) if missing else iter(()), state)


def _stored(outcomes: Iterator[Outcome], state: Path | None) -> Iterator[Outcome]:
    for outcome in outcomes:
        if state is not None:
            with state.open("ab") as file:
                file.write(msgspec.json.encode(outcome) + b"\n")
        yield outcome


class Bound(msgspec.Struct, frozen=True):
    name: str
    shown: str
    required: str
    is_met: bool


def list_bounds(outcomes: Sequence[Outcome]) -> list[Bound]:
    """Bounds over the truths that have a plan."""
    planned = [outcome for outcome in outcomes if outcome.why_not is None]
    stated = [outcome for outcome in planned if outcome.stated is not None and outcome.stated >= CONFIDENCE]
    median = float(np.median([outcome.ratio for outcome in planned])) if planned else math.nan
    silent = [outcome for outcome in planned if outcome.ratio > 2 and outcome.state == "known"]
    return [
        _share("P10–P90 of replicas covers the need", [outcome.is_covered for outcome in planned], 0.75, 0.90),
        _share("SLO met where at least 90 % is stated", [outcome.is_met for outcome in stated], 0.88, 1.0),
        Bound("bought / needed, median", f"{median:.3f}", "at most 1.1", median <= 1.1),
        _none("above 2 × without leading with 'not known well enough'", silent),
        _none("above a measured miss", [outcome for outcome in planned if outcome.is_above_a_miss]),
        _none(
            "below 0.8 × a rate that passed in all repeats", [outcome for outcome in planned if outcome.is_below_a_pass]
        ),
    ]


def _share(name: str, hits: Sequence[bool], low: float, high: float) -> Bound:
    if not hits:
        return Bound(name, "no plan", f"{low:.0%} to {high:.0%}", False)
    interval = stats.binomtest(sum(hits), len(hits)).proportion_ci(0.95)
    shown = f"{sum(hits)} of {len(hits)}: {sum(hits) / len(hits):.1%} ({interval.low:.1%}–{interval.high:.1%})"
    return Bound(name, shown, f"{low:.0%} to {high:.0%}", bool(interval.high >= low and interval.low <= high))


def _none(name: str, failures: Sequence[Outcome]) -> Bound:
    listed = ", ".join(f"{outcome.seed}.{outcome.number} {outcome.family}" for outcome in failures)
    return Bound(name, f"{len(failures)}" + (f" ({listed})" if listed else ""), "none", not failures)


def list_tables(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| bound | found | wanted | kept |"
    yield "|---|---|---|---|"
    for bound in list_bounds(outcomes):
        yield f"| {bound.name} | {bound.shown} | {bound.required} | {'yes' if bound.is_met else 'NO'} |"
    yield ""
    yield "| truths | plans | covered | SLO met | bought / needed: median, range | not known well enough |"
    yield "|---|---|---|---|---|---|"
    for name, group in _groups(outcomes):
        planned = [outcome for outcome in group if outcome.why_not is None]
        if not planned:
            yield f"| {name} | 0 of {len(group)} | | | | |"
            continue
        ratios = sorted(outcome.ratio for outcome in planned)
        yield (
            f"| {name} | {len(planned)} of {len(group)} | {np.mean([outcome.is_covered for outcome in planned]):.0%} "
            f"| {np.mean([outcome.is_met for outcome in planned]):.0%} "
            f"| {np.median(ratios):.2f}, {ratios[0]:.2f}–{ratios[-1]:.2f} "
            f"| {sum(outcome.state != 'known' for outcome in planned)} |"
        )
    for why in sorted({outcome.why_not for outcome in outcomes if outcome.why_not}):
        yield f"\nno plan: {why} ({sum(outcome.why_not == why for outcome in outcomes)})"


def _groups(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, list[Outcome]]]:
    yield "all", list(outcomes)
    for family in FAMILIES:
        yield family, [outcome for outcome in outcomes if outcome.family == family]
    for router in ROUTERS:
        yield router.replace("_", " "), [outcome for outcome in outcomes if outcome.router == router]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, help="JSON lines of the truths evaluated so far")
    parser.add_argument("--seeds", default="1-20", help="first-last; 101-120 is the result that counts")
    parser.add_argument("--truths", type=int, default=TRUTHS_PER_SEED, help="of each seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--each", action="store_true", help="print a line for every truth")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    outcomes = []
    for outcome in check_truths(
        range(int(first), int(last or first) + 1), arguments.state, arguments.processes, arguments.truths
    ):
        outcomes.append(outcome)
        if arguments.each:
            print(json.dumps(msgspec.to_builtins(outcome)), flush=True)
    print("\n".join(list_tables(outcomes)))
    raise SystemExit(0 if all(bound.is_met for bound in list_bounds(outcomes)) else 1)


if __name__ == "__main__":
    main()
