"""What no plan of a language model without measurements may claim, on any accelerator."""

from __future__ import annotations

import functools
import json
import math
import re
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.planning.fleets import plan_fleets
from app.planning.hardware.rates import Unavailable
from app.planning.language_models.assumed_model import AssumedReplica, build_assumed_replicas
from app.planning.language_models.memory import GIB
from app.planning.language_models.weights import compute_weight_bytes, divide_weights
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.planning.step_times.bundled import load_bundled_evidence
from app.planning.step_times.intervals import Z_LEVEL
from app.profiles.pricing.catalog import load_catalog
from app.records.dtypes import choose_compute_dtype
from app.records.plan import Plan
from app.records.planning_inputs import AssumedModel, PlanningInputs, Precision
from app.records.schemas import build_json_schemas
from app.records.service import TokenService
from app.records.traffic import TokenLengths
from tests.fakes.offers import catalog_of, gpu_offer, planning_inputs

GPUS = load_catalog().accelerators
MODELS = ("llama-3.1-8b", "llama-3.1-70b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b")
CARDS = ("h100-sxm5-80gb", "h200-sxm-141gb", "b200-sxm-180gb", "l40s", "a100-sxm4-80gb", "mi300x")
EXTRAPOLATED = (
    "l40s",
    "a100-sxm4-80gb",
    "mi300x",
    "rtx-4090",
    "rtx-pro-6000-server",
    "h100-pcie-80gb",
    "h100-nvl-94gb",
    "h20-sxm-96gb",
    "h200-nvl-141gb",
    "gh200-96gb",
    "gb300-279gb",
    "gb200-186gb",
)
HOPPER_FP4_LAUNCH = 1.15
"""Factor of the times of starting kernels with fp4 weights on Hopper, which the fit found."""
EXPERTS_8_BIT_LAUNCH = {"Hopper": 1.28, "Blackwell": 1.3}
"""Factors of the times of starting kernels with experts of 8 bits, relative to 16 bits, which the fit found, by
architecture. The only published pairs are of Qwen3.5 under SGLang, where a step with fp8 takes up to 1.24 times as
long."""
SLO = ("ttft_ms.p95 < 1000", "tpot_ms.p95 < 40")
PAGE = Path(__file__).parents[4] / "docs" / "validation" / "published-language-models.md"

OUTPUT_TOKENS = 200.0


def build_inputs(
    model: str, lengths: tuple[float, float], precision: str, slo: tuple[str, ...] = SLO
) -> PlanningInputs:
    kv = "bf16" if precision == "bf16" else "fp8"
    assumed = AssumedModel(model, load_language_models()[model].shape, Precision(precision, "bf16", kv))
    inputs = planning_inputs(slo=slo, peak_per_s=2.0, tokens=(TokenLengths(1.0, *lengths),))
    return replace(inputs, measured=(), assumed_model=assumed)


@functools.cache
def build_replicas(
    model: str, card: str, lengths: tuple[float, float] = (1000.0, 200.0), precision: str = "fp8"
) -> dict[int, AssumedReplica]:
    """Return the replicas by their number of accelerators; none if the model does not fit."""
    inputs = build_inputs(model, lengths, precision)
    replicas = build_assumed_replicas(GPUS[card], inputs, build_slo_objectives(inputs.slo))
    if isinstance(replicas, Unavailable):
        assert replicas.id == "memory"
        return {}
    return {int(replica.target.hardware.accelerator_count): replica for replica in replicas}


def get_service(replica: AssumedReplica) -> TokenService:
    assert replica.target.fit is not None
    service = replica.target.fit.services[0].service
    assert isinstance(service, TokenService)
    return service


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("card", CARDS)
def test_shorter_prompts_or_responses_never_lower_the_rate_within_the_slo(model: str, card: str) -> None:
    base = build_replicas(model, card, (2000.0, 400.0))
    for shorter in ((1000.0, 400.0), (2000.0, 200.0)):
        replicas = build_replicas(model, card, shorter)
        assert replicas.keys() >= base.keys()
        for degree, replica in base.items():
            rate_per_s = replicas[degree].target.curve.max_rate_per_s
            assert rate_per_s >= 0.999 * replica.target.curve.max_rate_per_s, (degree, shorter)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("precision", ["int4", "fp4"])
def test_weights_of_4_bits_are_not_slower_than_those_of_16_bits_at_low_load(
    model: str, card: str, precision: str
) -> None:
    """Except for fp4 on Hopper, where the kernels of published servers of gpt-oss take longer to start."""
    most = HOPPER_FP4_LAUNCH if precision == "fp4" and GPUS[card].architecture == "Hopper" else 1.0
    wide = build_replicas(model, card, precision="bf16")
    narrow = build_replicas(model, card, precision=precision)
    assert narrow.keys() >= wide.keys()
    for degree, replica in wide.items():
        times_s = [get_service(built).compute_decode_step_s(1, 1000) for built in (narrow[degree], replica)]
        assert times_s[0] <= most * times_s[1], degree


@pytest.mark.parametrize("model", ["qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b", "qwen3-235b-a22b", "minimax-m2"])
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("precision", ["fp8", "int8"])
def test_experts_of_8_bits_are_slower_than_those_of_16_bits_only_where_published_servers_are(
    model: str, card: str, precision: str
) -> None:
    most = EXPERTS_8_BIT_LAUNCH.get(GPUS[card].architecture or "", 1.0)
    wide, narrow = (build_replicas(model, card, precision=name) for name in ("bf16", precision))
    for degree in wide.keys() & narrow.keys():
        for batch in (1, 4, 16, 64, 256):
            times_s = [
                get_service(built[degree]).compute_decode_step_s(batch, 1000 * batch) for built in (narrow, wide)
            ]
            assert times_s[0] <= most * times_s[1], (degree, batch)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("card", [*CARDS, "rtx-4090"])
@pytest.mark.parametrize("precision", ["bf16", "fp8", "int4"])
def test_weights_fit_in_the_memory_of_a_replica(model: str, card: str, precision: str) -> None:
    shape, gpu = load_language_models()[model].shape, GPUS[card]
    assert gpu.memory_gib is not None
    for degree in build_replicas(model, card, precision=precision):
        assert compute_weight_bytes(shape, precision) < degree * gpu.memory_gib * GIB


@pytest.mark.parametrize("model", [*MODELS, "gemma-2-2b"])
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("precision", ["bf16", "fp8", "int4"])
def test_step_time_is_bounded_by_weight_reads_and_grows_with_sequences(model: str, card: str, precision: str) -> None:
    parts, gpu = divide_weights(load_language_models()[model].shape, precision), GPUS[card]
    assert gpu.memory_bandwidth_gb_s is not None
    expert_bytes = parts.experts_per_token * parts.expert_parameters * parts.expert_bytes
    for degree, replica in build_replicas(model, card, precision=precision).items():
        service = get_service(replica)
        steps_s = [service.compute_decode_step_s(batch, 1000 * batch) for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
        assert steps_s == sorted(steps_s)
        assert steps_s[0] > (parts.common_read_bytes + expert_bytes) / (degree * gpu.memory_bandwidth_gb_s * 1e9)


@functools.cache
def build_plan(model: str, peak_per_s: float) -> Plan:
    """Return the plan of a model on eight of each card."""
    listed = load_language_models()[model]
    precision = Precision(listed.weights, choose_compute_dtype(listed.weights))
    inputs = build_inputs(model, (1000.0, OUTPUT_TOKENS), listed.weights, ("ttft_ms.p95 < 2000", "tpot_ms.p95 < 60"))
    return plan_fleets(
        replace(
            inputs,
            assumed_model=AssumedModel(model, listed.shape, precision),
            traffic=replace(inputs.traffic, peak_per_s=peak_per_s),
            catalog=replace(catalog_of(*(gpu_offer(card, card, 8.0) for card in CARDS)), accelerators=GPUS),
        ),
        estimate_only=True,
    )


@pytest.mark.parametrize("model", [*MODELS, "gemma-3-27b", "kimi-k2", "qwen3-next-80b-a3b"])
def test_plan_has_finite_numbers_ordered_percentiles_and_probabilities(model: str) -> None:
    plan = build_plan(model, 8.0)
    assert any(fleet.rejected is None for fleet in plan.offers)
    check_values(msgspec.to_builtins(plan))
    jsonschema.validate(json.loads(msgspec.json.encode(plan)), build_json_schemas()["plan.schema.json"])
    for fleet in plan.offers:
        if fleet.slo_probabilities is not None:
            assert 0 <= fleet.slo_probabilities.planned <= 1
        replica = fleet.served_replica
        assert (replica is None) == (fleet.planned_rate_per_replica_per_s is None)
        if replica is not None and fleet.planned_rate_per_replica_per_s is not None:
            replica_tokens_per_s = fleet.planned_rate_per_replica_per_s * OUTPUT_TOKENS
            assert replica.tokens_per_s_per_accelerator * replica.accelerators == pytest.approx(replica_tokens_per_s)
            assert replica.tokens_per_s_per_user > 0
            assert replica.engine == "vllm"
            assert replica.weights == load_language_models()[model].weights


def check_values(value: object) -> None:
    """Fail for a number that JSON cannot express, for percentiles out of order, and for an interval without its
    value."""
    if isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, dict):
        if value.keys() >= {"p10", "p50", "p90"} and None not in value.values():
            assert value["p10"] <= value["p50"] <= value["p90"]
        if value.get("ci95") and value.get("value") is not None:
            assert value["ci95"][0] <= value["value"] * (1 + 1e-9)
            assert value["value"] * (1 - 1e-9) <= value["ci95"][1]
        for item in value.values():
            check_values(item)
    elif isinstance(value, list | tuple):
        for item in value:
            check_values(item)


@pytest.mark.parametrize("model", MODELS)
def test_higher_peak_never_needs_fewer_instances(model: str) -> None:
    low, high = count_instances(model, 8.0), count_instances(model, 80.0)
    assert low
    assert high
    assert all(high[offer] >= low[offer] for offer in high.keys() & low.keys())


def count_instances(model: str, peak_per_s: float) -> dict[str, int]:
    """Return the instances of each offer that fits."""
    offers = build_plan(model, peak_per_s).offers
    return {fleet.offer: fleet.instances for fleet in offers if fleet.rejected is None and fleet.instances is not None}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("card", EXTRAPOLATED)
def test_gpu_without_similar_published_points_has_a_wider_interval_than_any_held_out_gpu(model: str, card: str) -> None:
    widest = read_widest("TPOT, each GPU type left out")
    for replica in build_replicas(model, card).values():
        assert replica.is_extrapolated
        assert np.exp(2 * Z_LEVEL * replica.sigma) > widest


def read_widest(title: str) -> float:
    """Return the largest width of an interval, p90 / p10, among the GPU types of a table of the page."""
    table = PAGE.read_text(encoding="utf-8").partition(f"## {title}")[2].partition("##")[0]
    names = "|".join(sorted(load_bundled_evidence().known["gpu"]))
    widths = [float(cells) for cells in re.findall(rf"^\| (?:{names}) \|.*\| ([\d.]+) \|$", table, re.MULTILINE)]
    assert len(widths) == len(load_bundled_evidence().known["gpu"])
    return max(widths)


@pytest.mark.parametrize(("slo", "is_limit"), [(SLO, True), (SLO[::-1], False)])
def test_ttft_at_peak_is_a_limit_and_tpot_at_peak_is_an_estimate(slo: tuple[str, ...], is_limit: bool) -> None:
    inputs = build_inputs("llama-3.1-8b", (1000.0, 200.0), "fp8", slo)
    catalog = replace(catalog_of(gpu_offer("one", "h100-sxm5-80gb")), accelerators=GPUS)
    (fleet,) = plan_fleets(replace(inputs, catalog=catalog)).offers
    assert fleet.is_latency_limit is is_limit
    assert fleet.latency_at_peak.value is not None
    assert (fleet.latency_at_peak.ci95 is None) is is_limit
