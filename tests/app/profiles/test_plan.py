from __future__ import annotations

from typing import Any

import pytest

from app.errors import ProfileError
from app.profiles.loading import load_planning
from app.profiles.plan import ROUTERS, PlanSettings, plan_limits_of
from app.records.offers import ApiPrice, OtherCards, PlanLimits
from tests.fakes.offers import catalogue, offer

SAID = {
    "assurance": "95%",
    "redundancy": "n+2",
    "zones": 3,
    "surge": 1,
    "router": "power-of-two",
    "regions": ["us-east-1", "eu-west-1"],
    "providers": ["aws"],
    "budget": "4000 USD/month",
    "vendors": ["nvidia"],
    "max_power": "20 kW",
    "api_price": "0.6 USD/1M",
    "max_accelerators": 4,
    "price": "spot",
    "max_price_age": "90d",
    "low_trust_prices": True,
    "other_cards": {"dtype": "fp16", "work": "saturated"},
}


def limits(*overrides: str) -> PlanLimits:
    return plan_limits_of(load_planning([f"plan.{one}" for one in overrides]).plan)


def test_what_is_not_said_is_the_records_own() -> None:
    assert limits() == PlanLimits()


def test_every_key_is_taken() -> None:
    said = PlanSettings.model_validate(SAID, context={})
    assert plan_limits_of(said) == PlanLimits(
        assurance=0.95,
        redundancy=2,
        regions=("us-east-1", "eu-west-1"),
        providers=("aws",),
        budget_usd_per_month=4000.0,
        max_price_age_days=90,
        router="power_of_two",
        zones=3,
        surge=1,
        max_accelerators=4,
        price="spot",
        other_cards=OtherCards("fp16", "saturated"),
        vendors=("nvidia",),
        max_power_w=20_000.0,
        api=ApiPrice(0.6, "1M tokens"),
        low_trust_prices=True,
    )
    assert {field.alias or name for name, field in PlanSettings.model_fields.items()} == set(SAID)


def test_what_is_printed_back_reads_the_same() -> None:
    said = PlanSettings.model_validate(SAID, context={})
    printed = said.model_dump(mode="json", by_alias=True)
    assert PlanSettings.model_validate(printed, context={}) == said
    bare = PlanSettings()
    assert PlanSettings.model_validate(bare.model_dump(mode="json", by_alias=True), context={}) == bare


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("assurance=50%", "assurance", 0.5),
        ("assurance=99%", "assurance", 0.99),
        ("redundancy=n", "redundancy", 0),
        ("redundancy=N+1", "redundancy", 1),
        ("zones=9", "zones", 9),
        ("surge=1000", "surge", 1000),
        ("budget=48000 USD/year", "budget_usd_per_month", 4000.0),
        ("max_power=700 W", "max_power_w", 700.0),
        ("max_power=null", "max_power_w", None),
        ("api_price=2 USD/1k", "api", ApiPrice(2.0, "1k requests")),
        ("api_price=null", "api", None),
        ("price=reserved-1y", "price", "reserved 1y"),
        ("price=on-demand", "price", "on demand"),
        ("max_accelerators=0.5", "max_accelerators", 0.5),
        ("other_cards={dtype: int8}", "other_cards", OtherCards("int8", "unknown")),
        *((f"router={name}", "router", router) for name, router in ROUTERS.items()),
    ],
)
def test_each_value_as_it_may_be_written(override: str, field: str, value: object) -> None:
    assert getattr(limits(override), field) == value


@pytest.mark.parametrize(
    ("override", "says", "hint"),
    [
        ("assurence=95%", "unknown key 'assurence' in plan", "Did you mean 'assurance'?"),
        ("zone=3", "unknown key 'zone' in plan", "Did you mean 'zones'?"),
        ("budget_usd_per_month=3 USD/month", "unknown key 'budget_usd_per_month'", "max_power, api_price"),
        ("assurance=0.95", "0.95 has no unit", "90%"),
        ("assurance=49%", "plan.assurance must be greater than or equal to 0.5", None),
        ("assurance=100%", "plan.assurance must be less than or equal to 0.9999", None),
        ("assurance=101%", "is not between 0% and 100%", None),
        ("redundancy=1", "1 is not a redundancy", "n+1"),
        ("redundancy=n-1", "'n-1' is not a redundancy", "n+1"),
        ("zones=0", "0 is not a whole number of at least 1", None),
        ("zones=10", "10 is more than 9", None),
        ("surge=-1", "plan.surge must be greater than or equal to 0", None),
        ("surge=1001", "plan.surge must be less than or equal to 1000", None),
        ("surge=1.5", "plan.surge must be a whole number, not 1.5", None),
        ("router=round_robin", "plan.router must be", "Did you mean 'round-robin'?"),
        ("router=magic", "plan.router must be", None),
        ("regions=us-east-1", "plan.regions must be a list", None),
        ("regions=[us-esat-1]", "no region 'us-esat-1'", "Did you mean 'us-east-1'?"),
        ("providers=[asw]", "no provider 'asw'", "Did you mean 'aws'?"),
        ("budget=4000 USD", "plan.budget: '4000 USD' is not money a month", None),
        ("budget=-1 USD/month", "is below zero", None),
        ("budget=5 EURO/month", "unknown", None),
        ("vendors=nvidia", "plan.vendors must be a list", None),
        ("max_power=20", "20 has no unit", "20 kW"),
        ("max_power=20 KW", "unknown unit 'KW'", "Did you mean 'kW'?"),
        ("api_price=2 USD", "is not a price by unit", None),
        ("api_price=2", "2 has no unit", "2 USD/1k or 0.60 USD/1M"),
        ("api_price=2 USD/2k", "is not a price by unit", "Did you mean 'USD/1k'?"),
        ("max_accelerators=0", "plan.max_accelerators must be greater than 0", None),
        ("max_accelerators=10001", "more than 10,000", None),
        ("price=on demand", "plan.price must be", "Did you mean 'on-demand'?"),
        ("price=owned", "plan.price must be", None),
        ("max_price_age=90", "90 has no unit", "30s"),
        ("max_price_age=36h", "is not a whole number of days", "180d"),
        ("other_cards={}", "plan.other_cards lacks dtype", None),
        ("other_cards=fp16", "plan.other_cards must be a mapping of keys", None),
        ("other_cards={dtype: f16}", "plan.other_cards.dtype must be", "Did you mean"),
        ("other_cards={dtype: fp16, work: decoding}", "plan.other_cards.work must be", "Did you mean 'decode'?"),
        ("other_cards={dtype: fp16, wrk: decode}", "unknown key 'wrk' in plan.other_cards", "Did you mean 'work'?"),
    ],
)
def test_each_bad_value_is_named_with_what_is_right(override: str, says: str, hint: str | None) -> None:
    with pytest.raises(ProfileError) as caught:
        limits(override)
    assert str(caught.value).startswith("--set plan")
    assert says in str(caught.value)
    assert hint is None or hint in (caught.value.hint or "")


def test_names_are_those_of_the_catalogue_that_is_planned_with() -> None:
    own: dict[str, Any] = {"catalogue": catalogue(offer())}
    said = ["plan.regions=[here]", "plan.providers=[acme]", "target.hardware.offer=acme/c16"]
    assert load_planning(said, **own).plan.regions == ("here",)
    with pytest.raises(ProfileError, match="no region 'us-east-1'"):
        load_planning(["plan.regions=[us-east-1]"], **own)
