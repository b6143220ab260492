from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from app.errors import UsageError
from app.records.planning_inputs import PlanningInputs
from app.records.service import BatchService, FitError, FittedService, TokenService
from app.records.traffic import Traffic
from app.storage.plan_file import find_impossible_input
from app.wiring.plan_files import PlanFile, encode_plan, read_plan, write_plan
from tests.fakes import services, small_plan, whole_plan
from tests.fakes.offers import catalog_of, offer, planning_inputs, target

SERVICE_MODELS = (
    FittedService(BatchService(0.01, 0.002, 8), 0.5, ("fixed_s",), ((0.01,),)),
    FittedService(TokenService(0.01, 1e-4, 1e-5, 64, 100_000), 0.5, (), ()),
)
INPUTS = small_plan.planning_inputs()
ENCODED = encode_plan(PlanFile("sizewise 0.1.0", whole_plan.whole_plan(), INPUTS))
HOURS, CACHE = "hourly_share: [0.1, ", "    cache_share: 0.0\n"


@pytest.mark.parametrize(
    "inputs",
    [
        INPUTS,
        small_plan.planning_inputs(traffic=Traffic(60.0, "custom", small_plan.DAYTIME, growth_per_year=-0.3)),
        planning_inputs(
            target(fit=replace(services.fit_of(*SERVICE_MODELS), errors=(FitError(8.0, "p95", 0.1, 0.09, -2.0),)))
        ),
        planning_inputs(target()),
        whole_plan.planning_inputs(),
    ],
)
def test_possible_planning_inputs_are_accepted(inputs: PlanningInputs) -> None:
    """The highest rate of a fit may be infinite, its residuals may be negative, and traffic may shrink."""
    assert find_impossible_input(inputs) is None


@pytest.mark.parametrize(
    ("valid", "invalid", "message"),
    [
        ("peak_per_s: 60.0", "peak_per_s: .nan", "inputs.traffic.peak_per_s is not a number"),
        ("peak_per_s: 60.0", "peak_per_s: -1.0", "traffic.peak_per_s is -1"),
        ("peak_per_s: 60.0", "peak_per_s: 0.0", "traffic.peak_per_s is 0"),
        ("peak_per_s: 60.0", "peak_per_s: .inf", "traffic.peak_per_s is inf"),
        ("growth_per_year: 0.0", "growth_per_year: -1.0", "growth_per_year is -1"),
        (HOURS, "hourly_share: [", "the number of values in traffic.hourly_share is 23, but must be 24 to 24"),
        (HOURS, "hourly_share: [.nan, ", "hourly_share is not a number"),
        ("weekly_share: [1.0,", "weekly_share: [1.0, 1.0,", "the number of values in traffic.weekly_share is 8"),
        ("weekly_share: [1.0" + 6 * ", 1.0", "weekly_share: [0" + 6 * ", 0",
         "the largest value in traffic.weekly_share"),
        ("cache_share: 0.0", "cache_share: 1.0", "traffic.cache_share is 1"),
        ("window_s: 60.0", "window_s: 0.0", "traffic.dispersion.window_s is 0"),
        (CACHE, f"{CACHE}    spikes: [{{at_s: 0, duration_s: 9, times: 1.0e+300}}]\n",
         "the factor of a spike or campaign is 1e+300"),
        (CACHE, f"{CACHE}    classes: [{{name: a, share: 1, work: 0}}]\n", "the work of traffic class a is 0"),
        (CACHE, f"{CACHE}    classes: [{{name: a, share: 0.5}}]\n", "the sum of the shares in traffic.classes is 0.5"),
        ("confidence: 0.9", "confidence: 1.0", "limits.confidence is 1, but must be 0.5 to 0.9999"),
        ("redundancy: 1", "redundancy: 1000000000000", "limits.redundancy is 1e+12"),
        ("zones: 1", "zones: 0", "limits.zones is 0"),
        ("max_unavailable: 0", "max_unavailable: 1001", "limits.max_unavailable is 1001"),
        ("replicas: 1", "replicas: 0", "the number of replicas of measured is 0"),
        ("max_rate_per_s: 8.0", "max_rate_per_s: .inf", "max_rate_per_s of measured is inf"),
        ("slots: 2", "slots: 1000000000", "slots of a service model of measured is 1e+09"),
        ("mean_s: 0.2", "mean_s: 0.0", "mean_s of a service model of measured is 0"),
        ("cv: 0.5", "cv: .nan", "inputs.measured.fit.services.service.cv is not a number"),
        ("probability: 1.0", "probability: 0.0", "the sum of the probabilities of the service models of measured is 0"),
        ("parameters: []", "parameters: [mean]", "has a service model with an unknown parameter 'mean'"),
        ("parameters: []", "parameters: [mean_s]", "log_covariance does not match its parameters"),
    ],
)  # fmt: skip
def test_plan_file_with_impossible_values_is_rejected(tmp_path: Path, valid: str, invalid: str, message: str) -> None:
    plan_text, mark, inputs_text = ENCODED.text.partition("\ninputs:")
    assert valid in inputs_text
    path = tmp_path / "plan.yaml"
    (tmp_path / ENCODED.catalog_name).write_bytes(ENCODED.catalog)
    path.write_text(plan_text + mark + inputs_text.replace(valid, invalid, 1), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_plan(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(("price", "message"), [(float("inf"), "is inf"), (-1.0, "is -1"), (float("nan"), "is not a")])
def test_catalog_with_an_impossible_price_is_rejected(tmp_path: Path, price: float, message: str) -> None:
    inputs = replace(INPUTS, catalog=catalog_of(offer("c2", on_demand_usd_per_hour=price)))
    path, _ = write_plan(tmp_path / "plan.yaml", PlanFile("sizewise 0.1.0", whole_plan.whole_plan(), inputs))
    with pytest.raises(UsageError) as caught:
        read_plan(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (BatchService(0.0, 0.0, 8), "fixed_s + per_item_s of a service model of run-1 is 0"),
        (BatchService(0.01, 0.002, 0), "max_batch of a service model of run-1 is 0"),
        (TokenService(0.0, 1e-4, 1e-5, 64, 100_000), "step_s of a service model of run-1 is 0"),
        (TokenService(0.01, 1e-4, 1e-5, 0, 100_000), "max_sequences of a service model of run-1 is 0"),
        (TokenService(0.01, 1e-4, 1e-5, 64, 0), "kv_tokens of a service model of run-1 is 0"),
        (TokenService(0.01, 1e-4, 1e-5, 64, 9, chunk_tokens=0), "chunk_tokens of a service model of run-1 is 0"),
    ],
)
def test_service_model_that_never_ends_or_starts_is_impossible(
    service: BatchService | TokenService, message: str
) -> None:
    problem = find_impossible_input(planning_inputs(target(fit=services.fit_of(services.fitted_service(service)))))
    assert problem is not None
    assert problem.startswith(message)
