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
    add_simulation,
    build_gpu_plan,
    build_plan,
    get_fleet,
    with_fleet,
    without_recommendation,
)
from tests.fakes.offers import offer

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
RESERVED_NAMES = {"source", "version", "providers", "count", "for_each", "lifecycle", "depends_on", "locals"}
"""Names that Terraform reserves."""
TYPES: dict[str, type | tuple[type, ...]] = {"string": str, "number": (int, float)}
SETTINGS = ExportSettings(name="Fraud scoring")


def export_values(plan: Plan) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(build_terraform_values(plan, SETTINGS))
    return values


def export_variables() -> dict[str, dict[str, Any]]:
    variables: dict[str, dict[str, Any]] = json.loads(build_terraform_variables())["variable"]
    return variables


def find_errors(values: dict[str, Any], variables: dict[str, dict[str, Any]]) -> list[str]:
    """Return the errors that Terraform would report for the two files."""
    errors = [name for name in variables if not IDENTIFIER.fullmatch(name) or name in RESERVED_NAMES]
    errors += [f"undeclared {name}" for name in values if name not in variables]
    errors += [f"no value for {name}" for name in variables if name not in values]
    for name, declaration in variables.items():
        if (
            set(declaration) != {"type", "description", "nullable"}
            or declaration["type"] not in TYPES
            or not declaration["description"]
        ):
            errors.append(f"declaration of {name}")
        elif values.get(name) is None and not declaration["nullable"]:
            errors.append(f"null for {name}")
        elif values.get(name) is not None and not isinstance(values[name], TYPES[declaration["type"]]):
            errors.append(f"type of {name}")
    return errors


@pytest.mark.parametrize(
    "plan", [build_plan(), build_gpu_plan(), add_simulation(build_plan()), with_fleet(build_plan(), vcpus=None)]
)
def test_terraform_values_match_their_declarations(plan: Plan) -> None:
    assert find_errors(export_values(plan), export_variables()) == []


def test_terraform_checks_detect_invalid_values_and_declarations() -> None:
    values, variables = export_values(build_plan()), export_variables()
    assert find_errors(values | {"more": 1}, variables) == ["undeclared more"]
    assert find_errors(values | {"region": None}, variables) == ["null for region"]
    assert find_errors(values | {"instance_count": "6"}, variables) == ["type of instance_count"]
    assert find_errors(values | {"count": 6}, variables | {"count": variables["risk"]}) == ["count"]
    assert find_errors({**values, "a b": 6}, variables | {"a b": variables["risk"]}) == ["a b"]


def test_terraform_values_match_the_plan() -> None:
    plan = add_simulation(build_gpu_plan())
    values, fleet = export_values(plan), get_fleet(plan)
    assert plan.recommendation is not None
    expected = {
        "name": "fraud-scoring", "provider": "acme", "region": "here", "instance_type": "g1",
        "instance_count": fleet.instances, "max_instance_count": fleet.instances, "spare_instance_count": 1,
        "accelerator": "l4", "accelerator_count": 1.0, "usd_per_hour_each": 1.0,
        "usd_per_month": fleet.usd_per_month.value, "price_date": "2026-08-01", "confidence": 0.9,
        "probability_slo_met": 0.934, "plan_date": "2026-08-01", "recommendation": plan.recommendation.sentence,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
    assert export_values(build_plan())["min_instance_count"] == 2  # 24 pods at 16 per instance
    assert export_values(with_fleet(build_plan(), slo_probabilities=None))["probability_slo_met"] is None


def test_terraform_values_have_the_order_of_the_declarations() -> None:
    orders = {tuple(export_values(plan)) for plan in (build_plan(), build_gpu_plan(), add_simulation(build_plan()))}
    assert orders == {tuple(export_variables())}
    assert build_terraform_values(build_plan(), SETTINGS) == build_terraform_values(build_plan(), SETTINGS)


def test_untrusted_text_is_escaped_in_terraform_values() -> None:
    hostile = '${file("/etc/passwd")} "\n\u2028 %{ if'
    text = build_terraform_values(build_plan(offer(instance_type=hostile)), SETTINGS)
    assert text.isascii()
    assert json.loads(text)["instance_type"] == hostile


def test_terraform_export_without_recommendation_is_refused() -> None:
    with pytest.raises(UsageError, match="recommends no fleet"):
        build_terraform_values(without_recommendation(build_plan()), SETTINGS)
