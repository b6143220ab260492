"""Whether plans of unmeasured language models carry the uncertainty of their step times to instances and P(SLO met).

`python -m tests.studies.step_time_draws` compares what plans state with brute force: 100 draws of the errors of TPOT
and of TTFT, each of which is simulated to find the highest rate within the SLO. A plan simulates the median service and
one each that is slower and faster by one standard deviation of the time that limits the rate, and takes the rate as
lognormal in between, with the tails of `app.planning.sizing.model_error`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from app.analysis.language_models import load_language_models
from app.planning.fleets import plan_fleets
from app.planning.hardware.rates import Unavailable
from app.planning.language_models.assumed_model import AssumedReplica, build_assumed_replicas
from app.planning.service_models.service_times import speed_up
from app.planning.sizing.fleet_rate import build_fleet_shape, find_highest_rate
from app.planning.sizing.model_error import compute_quantile
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.planning.step_times.positive_sum import Floats
from app.profiles.pricing.catalog import load_catalog
from app.records.plan import Fleet
from app.records.planning_inputs import AssumedModel, PlanningInputs, Precision
from app.records.service import TokenService
from app.records.traffic import TokenLengths
from tests.fakes.offers import catalog_of, gpu_offer, planning_inputs

DRAWS = 100
_REQUESTS, _PRECISION = (4000, 300), 0.02
_PLANNED_REPLICAS = 8


@dataclasses.dataclass(frozen=True)
class Case:
    model: str
    accelerator: str
    accelerators: int
    precision: str
    slo: tuple[str, ...]
    peak_per_s: float


CASES = (
    Case("llama-3.1-8b", "h100-sxm5-80gb", 1, "bf16", ("tpot_ms.p95 < 30",), 200.0),
    Case("llama-3.1-70b", "h200-sxm-141gb", 4, "fp8", ("tpot_ms.p95 < 40", "ttft_ms.p95 < 1000"), 150.0),
    Case("qwen3-30b-a3b", "h100-sxm5-80gb", 1, "fp8", ("tpot_ms.p95 < 30",), 200.0),
    Case("deepseek-v3", "h200-sxm-141gb", 8, "fp8", ("tpot_ms.p95 < 50", "ttft_ms.p95 < 3000"), 80.0),
    Case("gpt-oss-120b", "b200-sxm-180gb", 1, "fp4", ("ttft_ms.p95 < 500",), 300.0),
    Case("llama-3.1-8b", "l40s", 1, "bf16", ("tpot_ms.p95 < 60",), 100.0),
)


@dataclasses.dataclass(frozen=True)
class Stated:
    """Numbers of instances at P10, P50 and P90, and P(SLO met) with `instances` instances, one fewer and one more."""

    instances: int
    range: tuple[float, float, float]
    probabilities: tuple[float, float, float]


def build_inputs(case: Case, slo: Sequence[str]) -> PlanningInputs:
    precision = Precision(case.precision, case.precision, "bf16" if case.precision == "bf16" else "fp8")
    assumed = AssumedModel(case.model, load_language_models()[case.model].shape, precision)
    inputs = planning_inputs(
        slo=tuple(slo),
        peak_per_s=case.peak_per_s,
        tokens=(TokenLengths(1.0, 1000.0, 200.0),),
        catalog=msgspec.structs.replace(
            catalog_of(gpu_offer("one", case.accelerator, case.accelerators)), accelerators=load_catalog().accelerators
        ),
    )
    return msgspec.structs.replace(inputs, measured=(), assumed_model=assumed)


def read_plan(fleet: Fleet) -> Stated:
    """Return what a plan states of its fleet."""
    assert fleet.instances is not None
    assert fleet.instances_needed is not None
    assert fleet.slo_probabilities is not None
    needed, stated = fleet.instances_needed, fleet.slo_probabilities
    return Stated(
        fleet.instances - (fleet.spare_instances or 0),
        (needed.p10, needed.p50, needed.p90),
        (stated.one_fewer, stated.planned, stated.one_more),
    )


def draw_rates(case: Case, replicas: int, degree: int) -> Floats:
    """Return the highest rate within the SLO of one replica for each draw, in requests per second."""
    replica, tpot_only = _build(case, case.slo, degree), _build(case, ("tpot_ms.p95 < 1000",), degree)
    ttft_only = _build(case, ("ttft_ms.p95 < 100000",), degree)
    assert replica.target.fit is not None
    service = replica.target.fit.services[0].service
    assert isinstance(service, TokenService)
    inputs = build_inputs(case, case.slo)
    shape = build_fleet_shape(inputs.traffic, build_slo_objectives(inputs.slo), inputs.limits.router)
    errors = np.array([compute_quantile((index + 0.5) / DRAWS) for index in range(DRAWS)])
    others = np.random.default_rng(1).permutation(errors)
    return np.array(
        [
            find_highest_rate(
                slow_down(service, math.exp(tpot_only.sigma * tpot_error), math.exp(ttft_sigma * ttft_error)),
                shape,
                min(replicas, _PLANNED_REPLICAS),
                replica.target.curve.max_rate_per_s,
                _REQUESTS,
                _PRECISION,
            )[0]
            for tpot_error, ttft_error in zip(errors, others, strict=True)
            for ttft_sigma in [ttft_only.latency_limit_sigma or 0.0]
        ]
    )


def slow_down(service: TokenService, tpot_factor: float, ttft_factor: float) -> TokenService:
    """Return a service whose steps take `tpot_factor` times as long, and the first token of a lone prompt of 1,000
    tokens `ttft_factor` times as long."""
    slow = speed_up(service, 1 / tpot_factor)
    assert isinstance(slow, TokenService)
    prompt_s = 1000 * service.prefill_s_per_token
    outside_s = max(0.0, ttft_factor * (service.outside_s + prompt_s) - tpot_factor * prompt_s)
    return msgspec.structs.replace(slow, outside_s=outside_s)


def state_draws(rates_per_s: Floats, replicas_per_instance: int, peak_per_s: float, instances: int) -> Stated:
    """Return what the draws say of a plan: quantiles of needed instances, and shares of draws that meet the SLO."""
    with np.errstate(divide="ignore"):
        needed = np.ceil(peak_per_s / (rates_per_s * replicas_per_instance) - 1e-9)
    low, middle, high = np.quantile(needed, (0.1, 0.5, 0.9), method="inverted_cdf").tolist()
    shares = [float(np.mean(needed <= instances + extra)) for extra in (-1, 0, 1)]
    return Stated(instances, (low, middle, high), (shares[0], shares[1], shares[2]))


def _build(case: Case, slo: Sequence[str], degree: int) -> AssumedReplica:
    inputs = build_inputs(case, slo)
    replicas = build_assumed_replicas(
        inputs.catalog.accelerators[case.accelerator], inputs, build_slo_objectives(inputs.slo)
    )
    assert not isinstance(replicas, Unavailable)
    return next(replica for replica in replicas if replica.target.hardware.accelerator_count == degree)


def report(cases: Sequence[Case] = CASES) -> Iterator[str]:
    """Return the lines of the table."""
    yield "| model | GPU | SLO | instances | | P10–P50–P90 | P(SLO met): one fewer, planned, one more |"
    yield "|---|---|---|---|---|---|---|"
    for case in cases:
        (fleet,) = plan_fleets(build_inputs(case, case.slo)).offers
        stated, replicas = read_plan(fleet), fleet.replicas_per_instance or 1
        rates_per_s = draw_rates(case, stated.instances * replicas, round(case.accelerators / replicas))
        drawn = state_draws(rates_per_s, replicas, case.peak_per_s, stated.instances)
        for name, part in (("plan", stated), ("draws", drawn)):
            yield (
                f"| {case.model} | {case.accelerators} × {case.accelerator} | {', '.join(case.slo)} | {part.instances} "
                f"| {name} | {'–'.join(f'{count:g}' for count in part.range)} "
                f"| {', '.join(f'{share:.0%}' for share in part.probabilities)} |"
            )


if __name__ == "__main__":
    for line in report():
        print(line, flush=True)
