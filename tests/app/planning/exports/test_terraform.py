from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.errors import UsageError
from app.planning.exports.settings import ExportSettings
from app.planning.exports.terraform import build_terraform_values, build_terraform_variables
from app.records.plan import Plan
from tests.app.planning.exports.planned import (
    fleet_of,
    planned,
    planned_on_cards,
    simulated,
    with_fleet,
    without_recommendation,
)
from tests.fakes.offers import offer

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
TAKEN = {"source", "version", "providers", "count", "for_each", "lifecycle", "depends_on", "locals"}
"""Names that Terraform gives no variable."""
TYPES: dict[str, type | tuple[type, ...]] = {"string": str, "number": (int, float)}
SETTINGS = ExportSettings(name="Fraud scoring")


def values_of(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build_terraform_values(plan, SETTINGS))
    return found


def declared() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(build_terraform_variables())["variable"]
    return found


def problems(values: dict[str, Any], variables: dict[str, dict[str, Any]]) -> list[str]:
    """What Terraform would say of the two files."""
    found = [name for name in variables if not IDENTIFIER.fullmatch(name) or name in TAKEN]
    found += [f"undeclared {name}" for name in values if name not in variables]
    found += [f"no value for {name}" for name in variables if name not in values]
    for name, one in variables.items():
        if set(one) != {"type", "description", "nullable"} or one["type"] not in TYPES or not one["description"]:
            found.append(f"declaration of {name}")
        elif values.get(name) is None and not one["nullable"]:
            found.append(f"null for {name}")
        elif values.get(name) is not None and not isinstance(values[name], TYPES[one["type"]]):
            found.append(f"type of {name}")
    return found


@pytest.mark.parametrize(
    "plan", [planned(), planned_on_cards(), simulated(planned()), with_fleet(planned(), vcpus=None)]
)
def test_terraform_would_take_both_files(plan: Plan) -> None:
    assert problems(values_of(plan), declared()) == []


def test_what_terraform_would_refuse_is_seen_by_these_tests() -> None:
    values, variables = values_of(planned()), declared()
    assert problems(values | {"more": 1}, variables) == ["undeclared more"]
    assert problems(values | {"region": None}, variables) == ["null for region"]
    assert problems(values | {"instance_count": "6"}, variables) == ["type of instance_count"]
    assert problems(values | {"count": 6}, variables | {"count": variables["risk"]}) == ["count"]
    assert problems({**values, "a b": 6}, variables | {"a b": variables["risk"]}) == ["a b"]


def test_it_says_what_the_plan_says() -> None:
    plan = simulated(planned_on_cards())
    values, fleet = values_of(plan), fleet_of(plan)
    assert plan.recommendation is not None
    expected = {
        "name": "fraud-scoring", "provider": "acme", "region": "here", "instance_type": "g1",
        "instance_count": fleet.instances, "max_instance_count": fleet.instances, "spare_instance_count": 1,
        "accelerator": "l4", "accelerator_count": 1.0, "usd_per_hour_each": 1.0,
        "usd_per_month": fleet.usd_per_month.value, "price_date": "2026-08-01", "confidence": 0.9,
        "probability_slo_met": 0.934, "plan_date": "2026-08-01", "recommendation": plan.recommendation.sentence,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
    assert values_of(planned())["min_instance_count"] == 2  # 24 pods, 16 an instance
    assert values_of(with_fleet(planned(), slo_probabilities=None))["probability_slo_met"] is None


def test_the_order_is_always_the_same_and_that_of_the_declarations() -> None:
    orders = {tuple(values_of(plan)) for plan in (planned(), planned_on_cards(), simulated(planned()))}
    assert orders == {tuple(declared())}
    assert build_terraform_values(planned(), SETTINGS) == build_terraform_values(planned(), SETTINGS)


def test_text_is_text() -> None:
    hostile = '${file("/etc/passwd")} "\n\u2028 %{ if'
    text = build_terraform_values(planned(offer(instance_type=hostile)), SETTINGS)
    assert text.isascii()
    assert json.loads(text)["instance_type"] == hostile


def test_a_plan_without_a_recommendation_is_refused() -> None:
    with pytest.raises(UsageError, match="recommends no fleet"):
        build_terraform_values(without_recommendation(planned()), SETTINGS)
