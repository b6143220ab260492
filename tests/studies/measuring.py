"""Truths measured by the product's own path: its search, summary of stages, load points, fit and plan.

A `Truth` simulates one replica, stage after stage on one clock, and fleets of such replicas at the peak. `measure` lets
the product search and fit, `plan` lets it plan, and `evaluate_plan` computes with the truth's own simulator how many
replicas are needed. A stage is simulated to its end, also where a run would end it early because its backlog grows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.analysis.max_rate import compute_max_rate
from app.analysis.objectives import parse_objective
from app.analysis.stages import summarize_stage
from app.planning.fleets import plan_fleets
from app.planning.service_models.discrepancy import compute_discrepancy
from app.planning.service_models.families import with_parameters
from app.planning.service_models.measured import add_measured_tokens, build_run_target
from app.planning.sizing.fleet_rate import build_design, build_fleet_shape, simulate_fleet
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.metrics import PERCENTILES
from app.records.offers import PlanLimits, Router
from app.records.plan import Plan
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.result import Hardware, Objective, Stage, Traffic
from app.records.search import SearchSpec
from app.records.service import ServiceFit, ServiceModel
from app.records.stage import StageData
from app.session.rate_search import find_max_rate
from app.session.spec import ResolvedStage
from loadgen.records import OpenArrivals
from tests.fakes.offers import TODAY, catalog_of, offer

Floats = NDArray[np.float64]
CONFIDENCE = 0.9
MAX_FAILED_SHARE = 0.01
"""Limit that the product adds to an SLO without one of its own."""
HELD_OUT_SHARES = (0.5, 0.75, 0.92)
"""Held-out rates as shares of the max rate. The search measures none of them, except by chance."""
_POSTERIOR_DRAWS, _POSTERIOR_REQUESTS = 40, 4_000
_MAX_TIMES = 4
"""The need is looked for up to this multiple of the replicas that saturate at the peak."""
_NS = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class SimulatedRequests:
    """Simulated requests in the order of arrival. Times are seconds; `first_token_s` and `latency_s` from arrival."""

    arrivals_s: Floats
    latency_s: Floats
    first_token_s: Floats | None = None
    inputs: Sequence[int] = ()
    outputs: Sequence[int] = ()
    is_failed: NDArray[np.bool_] | None = None

    def times_s(self, metric: str) -> Floats:
        """Times of the successful requests by a metric of the product."""
        ok = np.ones(self.latency_s.size, bool) if self.is_failed is None else ~self.is_failed
        if metric == "ttft_ms" and self.first_token_s is not None:
            return self.first_token_s[ok]
        if metric == "tpot_ms" and self.first_token_s is not None:
            gaps = np.array(self.outputs) - 1
            ok &= gaps > 0
            return np.asarray((self.latency_s - self.first_token_s)[ok] / gaps[ok])
        return self.latency_s[ok]

    def without_first(self, share: float) -> SimulatedRequests:
        """Return the requests after the first share of them, which found the servers empty."""
        after = slice(int(share * self.latency_s.size), None)
        return SimulatedRequests(
            self.arrivals_s[after], self.latency_s[after],
            None if self.first_token_s is None else self.first_token_s[after],
            self.inputs[after], self.outputs[after], None if self.is_failed is None else self.is_failed[after],
        )  # fmt: skip

    def meets(self, objectives: Sequence[Objective]) -> bool:
        failed_share = 0.0 if self.is_failed is None else float(self.is_failed.mean())
        return failed_share <= MAX_FAILED_SHARE and all(
            quantile(self.times_s(objective.metric), PERCENTILES[objective.aggregate or ""]) < objective.limit / 1000
            for objective in objectives
        )


class Truth(Protocol):
    """A service, its SLO and traffic."""

    @property
    def slo(self) -> tuple[str, ...]: ...
    @property
    def router(self) -> Router: ...
    @property
    def peak_per_s(self) -> float: ...
    @property
    def saturation_per_s(self) -> float:
        """About the highest rate that one replica sustains."""
        ...

    @property
    def search(self) -> SearchSpec: ...

    def simulate_stage(self, arrivals_s: Floats, rng: np.random.Generator) -> SimulatedRequests:
        """Play the measured replica, which goes on from where its last stage ended."""
        ...

    def simulate_replica(self, rate_per_s: float) -> SimulatedRequests:
        """Play the measured replica for long at a constant rate."""
        ...

    def simulate_fleet(self, replicas: int, is_long: bool) -> SimulatedRequests:
        """Play a fleet in production at the peak."""
        ...


def quantile(values: Floats, share: float) -> float:
    return float(np.quantile(values, share, method="inverted_cdf")) if values.size else math.inf


# --- the measurement --------------------------------------------------------------------------------------------------


class StageRunner:
    """Runs the stages of the product's search on a truth, in virtual time."""

    may_continue = True
    _GAP_S = 1.0

    def __init__(self, truth: Truth, objectives: tuple[Objective, ...], rng: np.random.Generator) -> None:
        self._truth, self._objectives, self._rng = truth, objectives, rng
        self._now_s = 0.0
        self.stages: list[Stage] = []

    def now_ns(self) -> int:
        return round(self._now_s * _NS)

    def run(self, resolved_stage: ResolvedStage) -> Stage:
        arrivals = resolved_stage.load.arrivals
        assert isinstance(arrivals, OpenArrivals)
        rate_per_s, duration_s = arrivals.rates[0][1], resolved_stage.load.duration_s
        count = max(1, int(self._rng.poisson(rate_per_s * duration_s)))
        start_s = self._now_s + self._GAP_S
        arrivals_s = start_s + np.sort(self._rng.uniform(0, duration_s, count))
        simulated = self._truth.simulate_stage(arrivals_s, self._rng)
        end_s = max(start_s + duration_s, float((simulated.arrivals_s + simulated.latency_s).max()))
        self._now_s = end_s
        stage_data = StageData(
            index=len(self.stages), name=resolved_stage.name, kind=resolved_stage.kind, repeat=resolved_stage.repeat,
            tags=resolved_stage.tags, arrival_kind=arrivals.process, rate_per_s=rate_per_s, duration_s=duration_s,
            start_ns=round(start_s * _NS), end_ns=round(end_s * _NS) + 1, worker_cpu_s=0.1, connections_opened=10,
            stopped_early=False, generator_capacity_per_s=1e6, is_saturated=False,
        )  # fmt: skip
        self.stages.append(summarize_stage(build_rows(simulated, len(self.stages)), None, stage_data, self._objectives))
        return self.stages[-1]


def build_rows(simulated: SimulatedRequests, stage: int) -> pd.DataFrame:
    """Return the rows of a run's requests."""

    def at_ns(times_s: Floats) -> NDArray[np.int64]:
        return np.rint(times_s * _NS).astype(np.int64)

    is_failed = np.zeros(simulated.latency_s.size, bool) if simulated.is_failed is None else simulated.is_failed
    sent_ns, end_ns = at_ns(simulated.arrivals_s), at_ns(simulated.arrivals_s + simulated.latency_s)
    columns = {
        "stage": stage, "index": np.arange(sent_ns.size), "scheduled_ns": sent_ns, "sent_ns": sent_ns,
        "first_byte_ns": end_ns, "end_ns": end_ns, "status": np.where(is_failed, 503, 200),
        "error": ["http 503" if failed else None for failed in is_failed],
        "bytes_received": 100, "reused": True, "target": 0,
    }  # fmt: skip
    if simulated.first_token_s is not None:
        first_ns = at_ns(simulated.arrivals_s + simulated.first_token_s)
        columns |= {
            "first_byte_ns": first_ns, "first_token_ns": first_ns, "first_output_ns": first_ns, "last_token_ns": end_ns,
            "tokens_in": simulated.inputs, "tokens_out": simulated.outputs, "token_source": "server",
        }  # fmt: skip
    return pd.DataFrame(columns)


def measure(truth: Truth, seed: Sequence[int]) -> MeasuredTarget | None:
    """Return the target of a run on one replica; `None` if no rate met the SLO."""
    objectives = tuple(parse_objective(text) for text in truth.slo)
    runner = StageRunner(truth, objectives, np.random.default_rng(seed))
    outcome = find_max_rate(runner, truth.search, objectives, 60.0, runner.now_ns)
    max_rate = compute_max_rate(runner.stages, objectives, outcome)
    hardware = Hardware("acme/c16", offer="acme/c16", vcpus=16)
    return build_run_target("measured", hardware, runner.stages, objectives, max_rate)


# --- the plan and what it states --------------------------------------------------------------------------------------


def plan(truth: Truth, target: MeasuredTarget) -> Plan:
    return plan_fleets(_build_inputs(truth, target))


def _build_inputs(truth: Truth, target: MeasuredTarget) -> PlanningInputs:
    objectives = tuple(parse_objective(text) for text in truth.slo)
    return PlanningInputs(
        (target,), Traffic(truth.peak_per_s, "flat", (1.0,) * 24), objectives,
        PlanLimits(confidence=CONFIDENCE, redundancy=0, router=truth.router), catalog_of(offer()), TODAY,
    )  # fmt: skip


class Statement(msgspec.Struct, frozen=True):
    """Statements of a plan. `probability` is None if the plan has none, or recommends no fleet because the capacity
    is not known."""

    probability: float | None
    instances: int | None
    reason: str = ""


def read_statement(fleet_plan: Plan) -> Statement:
    """Read the stated P(SLO met) from the fields of a plan: the one place that depends on their names."""
    fleet, knowledge = fleet_plan.offers[0], fleet_plan.capacity_knowledge
    if fleet.instances is None:
        return Statement(None, None, str(fleet.rejection or fleet.rejected_by or "no fleet"))
    reason = "no probability" if knowledge is None else knowledge.reason
    if fleet.slo_probabilities is None or (knowledge is not None and knowledge.state == "unknown"):
        return Statement(None, fleet.instances, reason)
    return Statement(fleet.slo_probabilities.planned, fleet.instances)


class HeldOut(msgspec.Struct, frozen=True):
    """A latency of one replica at a held-out rate: the stated 80 % interval, and what it is. Times are seconds."""

    share: float
    metric: str
    aggregate: str
    low_s: float
    high_s: float
    true_s: float

    @property
    def is_inside(self) -> bool:
        return self.low_s <= self.true_s <= self.high_s


def read_intervals(
    truth: Truth, target: MeasuredTarget, rate_per_s: float, metrics: Sequence[tuple[str, str]]
) -> list[tuple[float, float]]:
    """Return the stated 80 % interval of each latency (metric and percentile) of one replica at a rate.

    The plan file states the fit with its uncertainty: service models, their probabilities, the covariance of their
    parameters, and the errors at loads that a fit did not see, whose excess is the discrepancy. The interval is what
    these say about the latency. This is the one place that depends on how the product states it. The list is empty
    without a fit.
    """
    if target.fit is None:
        return []
    inputs = add_measured_tokens(_build_inputs(truth, target))
    objectives = build_slo_objectives(inputs.slo)
    shape = build_fleet_shape(inputs.traffic, objectives, "random")
    rng = np.random.default_rng(11)
    services = _draw_services(target.fit, rng)
    discrepancy = compute_discrepancy(target.fit, objectives, target.curve.max_rate_per_s)
    factors = np.exp(discrepancy * rng.standard_normal((len(services), 1)))
    draws: list[list[float]] = []
    for service in services:
        outcome = simulate_fleet(build_design(service, shape, 1), shape, rate_per_s, _POSTERIOR_REQUESTS)
        upper_values = []
        for metric, aggregate in metrics:
            statistics = {"ttft_ms": outcome.overall.first_token, "tpot_ms": outcome.overall.per_token}.get(
                metric, outcome.overall.latency
            )
            index = outcome.percentiles.index(100 * PERCENTILES[aggregate])
            value = None if statistics is None else statistics.percentiles_s[index]
            upper_values.append(math.inf if value is None else value)
        draws.append(upper_values)
    return [
        (float(np.quantile(column, 0.1)), float(np.quantile(column, 0.9)))
        for column in (factors * np.array(draws)).T
    ]  # fmt: skip


def _draw_services(fit: ServiceFit, rng: np.random.Generator) -> list[ServiceModel]:
    weights = np.array([fitted.probability for fitted in fit.services])
    services: list[ServiceModel] = []
    for index in rng.choice(len(fit.services), _POSTERIOR_DRAWS, p=weights / weights.sum()):
        service = fit.services[index]
        if service.parameters:
            center = np.log([getattr(service.service, name) for name in service.parameters])
            values = rng.multivariate_normal(
                center, np.array(service.log_covariance), check_valid="ignore", method="eigh"
            )
            services.append(with_parameters(service.service, service.parameters, values))
        else:
            services.append(service.service)
    return services


def check_held_out_rates(truth: Truth, target: MeasuredTarget) -> list[HeldOut]:
    """Compare the stated intervals with what the measured replica does at rates between the measured ones."""
    objectives = [parse_objective(text) for text in truth.slo]
    metrics = list(
        dict.fromkeys(
            (objective.metric, name) for objective in objectives for name in ("p50", objective.aggregate or "p95")
        )
    )
    checks = []
    for share in HELD_OUT_SHARES:
        rate_per_s = share * target.curve.max_rate_per_s
        intervals = read_intervals(truth, target, rate_per_s, metrics)
        if not intervals:
            return []
        simulated = truth.simulate_replica(rate_per_s)
        for (metric, aggregate), (low_s, high_s) in zip(metrics, intervals, strict=True):
            true_s = quantile(simulated.times_s(metric), PERCENTILES[aggregate])
            checks.append(HeldOut(share, metric, aggregate, low_s, high_s, true_s))
    return checks


# --- what is true -----------------------------------------------------------------------------------------------------


class PlanEvaluation(msgspec.Struct, frozen=True):
    """`needed` is 0 where no fleet of up to four times the saturated replicas meets the SLO."""

    needed: int
    is_met: bool | None


def evaluate_plan(truth: Truth, planned: int | None) -> PlanEvaluation:
    """Find whether the planned fleet meets the SLO at the peak, and the fewest replicas that do."""
    objectives = [parse_objective(text) for text in truth.slo]
    long: dict[int, bool] = {}

    def meets_long(replicas: int) -> bool:
        if replicas not in long:
            long[replicas] = truth.simulate_fleet(replicas, is_long=True).meets(objectives)
        return long[replicas]

    is_met = None if planned is None else meets_long(planned)
    least = max(1, math.floor(truth.peak_per_s / truth.saturation_per_s))
    most = _MAX_TIMES * (least + 1)
    needed = find_fewest(lambda replicas: truth.simulate_fleet(replicas, is_long=False).meets(objectives), least, most)
    while 0 < needed < most and not meets_long(needed):
        needed += 1
    while needed > 1 and meets_long(needed - 1):
        needed -= 1
    return PlanEvaluation(needed, is_met)


def find_fewest(meets: Callable[[int], bool], least: int, most: int) -> int:
    """Return the smallest number from `least` to `most` that meets; 0 if even `most` does not.

    Steps double from `least`, and the last one is bisected.
    """
    low, high = least - 1, least
    while not meets(high):
        if high >= most:
            return 0
        low, high = high, min(most, high + max(1, 2 * (high - low)))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high
