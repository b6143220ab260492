from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.analysis.traces import compute_trace_statistics
from app.errors import UsageError
from app.records.offers import OwnedHardware, UnmeasuredGpus
from app.records.planning_inputs import AssumedModel
from app.records.traffic import Dispersion, TokenLengths
from app.wiring.plan_changes import apply_change, apply_overrides
from tests.fakes import small_plan
from tests.fakes.offers import TODAY, catalog_of, offer

QUESTION = small_plan.planning_inputs()
OWNED = OwnedHardware(capex_usd=4000.0, life_years=4.0)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("traffic.peak=80/s", "peak_per_s", 80.0),
        ("traffic.users={count: 3600, requests: 30/h}", "peak_per_s", 30.0),
        ("traffic.growth=20%/year", "growth_per_year", 0.2),
        ("traffic.week=business", "weekly_share", (1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 0.3)),
        ("traffic.uncertainty=10%", "uncertainty", 0.1),
        ("traffic.dispersion={index: 8}", "dispersion", Dispersion(8.0)),
        ("traffic.cache=30%", "cache_share", 0.3),
        ("traffic.tokens={input: 9, output: 3}", "tokens", (TokenLengths(1.0, 9.0, 3.0),)),
    ],
)
def test_traffic_change_affects_only_its_field(change: str, field: str, value: object) -> None:
    assert apply_change(QUESTION, change) == replace(QUESTION, traffic=replace(QUESTION.traffic, **{field: value}))


def test_shape_change_sets_its_hours_and_a_trace_sets_the_whole_traffic(tmp_path: Path) -> None:
    flat = apply_change(QUESTION, "traffic.shape=flat").traffic
    assert flat == replace(QUESTION.traffic, shape="flat", hourly_share=(1.0,) * 24)
    trace = tmp_path / "trace.csv"
    trace.write_text("timestamp\n" + "".join(f"{at / 10}\n" for at in range(1, 6000)))
    recorded = apply_change(QUESTION, f"traffic.trace={trace}").traffic
    assert recorded.trace is not None
    assert recorded.peak_per_s == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("plan.confidence=95%", "confidence", 0.95),
        ("plan.redundancy=n+2", "redundancy", 2),
        ("plan.budget=900 USD/month", "budget_usd_per_month", 900.0),
        ("plan.max_price_age=90d", "max_price_age_days", 90),
        ("plan.max_power=2 kW", "max_power_w", 2000.0),
        ("plan.router=random", "router", "random"),
        ("plan.price=reserved-1y", "price", "reserved-1y"),
        ("plan.zones=3", "zones", 3),
        ("plan.max_unavailable=1", "max_unavailable", 1),
        ("plan.max_accelerators=4", "max_accelerators", 4.0),
        ("plan.vendors=[nvidia]", "vendors", ("nvidia",)),
        ("plan.providers=[acme]", "providers", ("acme",)),
        ("plan.regions=[here]", "regions", ("here",)),
        ("plan.unmeasured_gpus={dtype: fp16}", "unmeasured_gpus", UnmeasuredGpus("fp16")),
    ],
)
def test_limit_change_affects_only_its_field(change: str, field: str, value: object) -> None:
    """Providers and regions are those of the catalog of the question."""
    assert apply_change(QUESTION, change) == replace(QUESTION, limits=replace(QUESTION.limits, **{field: value}))


@pytest.mark.parametrize("value", ["latency_ms.p99 < 80", '["latency_ms.p99 < 80"]', "[latency_ms.p99 < 80]"])
def test_objective_change_may_be_a_single_objective_or_a_list(value: str) -> None:
    assert [objective.text for objective in apply_change(QUESTION, f"slo={value}").slo] == ["latency_ms.p99 < 80"]


def test_related_settings_may_be_changed_one_by_one() -> None:
    overrides = ("traffic.dispersion.index=8", "plan.unmeasured_gpus.dtype=fp16", "traffic.dispersion.window=10s")
    question = apply_overrides(QUESTION, (*overrides, "plan.unmeasured_gpus.work=decode"))
    assert question.traffic.dispersion == Dispersion(8.0, 10.0)
    assert question.limits.unmeasured_gpus == UnmeasuredGpus("fp16", "decode")


def test_speed_change_scales_every_target_and_marks_the_target_as_assumed() -> None:
    for change in ("speed=1.5", "speed=1.5x"):
        (target,) = apply_change(QUESTION, change).measured
        assert (target.curve.max_rate_per_s, target.is_assumed) == (12.0, True)
        assert target.fit is not None
        assert target.fit.highest_per_s == 13.5


@pytest.mark.parametrize(("price", "usd"), [("0.7", 0.7), ("0.7 USD/h", 0.7)])
def test_price_change_applies_to_one_offer_on_the_day_of_the_plan(price: str, usd: float) -> None:
    c2, c4 = apply_change(QUESTION, f"price.acme/c2={price}").catalog.offers
    assert (c2.on_demand_usd_per_hour, c2.source, c2.as_of) == (usd, "yours", TODAY)
    assert c4 == QUESTION.catalog.offers[1]


def test_price_change_applies_to_the_planned_price_kind() -> None:
    c2, _ = apply_overrides(QUESTION, ("price.acme/c2=0.3", "plan.price=spot")).catalog.offers
    assert (c2.spot_usd_per_hour, c2.on_demand_usd_per_hour) == (
        0.3,
        QUESTION.catalog.offers[0].on_demand_usd_per_hour,
    )


def test_owned_offer_with_a_new_price_is_rented() -> None:
    own = replace(QUESTION, catalog=catalog_of(offer("c2", owned=OWNED, on_demand_usd_per_hour=None)))
    (rented,) = apply_change(own, "price.acme/c2@here=0.7").catalog.offers
    assert (rented.on_demand_usd_per_hour, rented.owned) == (0.7, None)


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ("traffic.peak", "--what-if traffic.peak does not have the form key=value", "Use a value such as"),
        ("speed=fast", "--what-if speed must be a factor from 0.01 to 100 (got fast)", "speed=1.3"),
        ("speed=nan", "must be a factor from 0.01 to 100 (got nan)", "speed=1.3"),
        ("speed=0", "must be a factor from 0.01 to 100 (got 0)", "speed=1.3"),
        ("speed=1e9", "must be a factor from 0.01 to 100 (got 1e9)", "speed=1.3"),
        ("price.acme/c2=0", "the price must be greater than 0", "above 0"),
        ("price.acme/c3=1", "the offer 'acme/c3' is unknown", "Did you mean 'acme/c"),
        ("price.acme/c2@mars=1", "not available in 'mars'", "It is available in here."),
        ("price.acme/c2=cheap", "--what-if price.acme/c2: 'cheap USD/h' is not a price per hour", "0.9 USD/h"),
        ("price.acme/c2=-1", "must not be below zero", ""),
        ("price.acme/c2=1 USD/month", "the unit 'USD/month' is unknown", ""),
        ("peak=3/s", "peak is not an input of a plan", "traffic.…, plan.…"),
        ("target.hardware.vcpus=3", "target.hardware.vcpus is not an input of a plan", "traffic.…, plan.…"),
        ("traffic.peak=80", "80 has no unit", "200/s"),
        ("traffic.grwth=2%/year", "the key 'grwth' is unknown in traffic", "Did you mean 'growth'?"),
        ("plan.confidance=95%", "the key 'confidance' is unknown in plan", "Did you mean 'confidence'?"),
        ("plan.providers=[acmee]", "the provider 'acmee' is unknown", "Did you mean 'acme'?"),
        ("slo=latency_ms.p95 = 50", "not a valid objective", "latency_ms.p95 < 50"),
        ("slo=[latency_ms.p95 = 50]", "not a valid objective", "latency_ms.p95 < 50"),
    ],
)
def test_invalid_changes_are_reported_with_a_hint(change: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply_change(QUESTION, change)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")


def test_change_beyond_the_context_of_the_model_or_of_a_speed_that_was_not_measured_is_refused() -> None:
    model = AssumedModel("llama-3-8b", load_language_models()["llama-3-8b"].shape)
    unmeasured = replace(QUESTION, measured=(), assumed_model=model)
    fitting = apply_change(unmeasured, "traffic.tokens={input: 8000, output: 192}")
    assert fitting.traffic.tokens == (TokenLengths(1.0, 8000.0, 192.0),)
    with pytest.raises(UsageError, match="8,192 tokens"):
        apply_change(unmeasured, "traffic.tokens={input: 8000, output: 193}")
    with pytest.raises(UsageError, match="nothing was measured"):
        apply_change(fitting, "speed=2")


def test_plan_of_measurements_refuses_a_share_of_cached_tokens() -> None:
    with pytest.raises(UsageError, match="prefix_cached does not change a plan of measurements"):
        apply_overrides(QUESTION, ("traffic.prefix_cached=60%",))


def test_prefix_cache_does_not_serve_more_than_a_trace_repeats() -> None:
    model = AssumedModel("llama-3-8b", load_language_models()["llama-3-8b"].shape)
    trace = replace(compute_trace_statistics(np.arange(0.0, 100.0)), prefix_hit_share=0.4)
    traffic = replace(QUESTION.traffic, tokens=(TokenLengths(1.0, 800.0, 100.0),), trace=trace)
    recorded = replace(QUESTION, measured=(), assumed_model=model, traffic=traffic)
    assert apply_overrides(recorded, ("traffic.prefix_cached=40%",)).traffic.prefix_cached_share == 0.4
    with pytest.raises(UsageError, match="could serve at most 40 % of the trace's input tokens"):
        apply_overrides(recorded, ("traffic.prefix_cached=41%",))
