"""Export of the recommended fleet as Terraform variables: values and declarations."""

from __future__ import annotations

import json
import math
from typing import Literal

import msgspec

from app.planning.exports.scale import compute_scale, get_recommended_fleet
from app.planning.exports.settings import ExportSettings, fill_in_settings
from app.records.plan import Plan

Value = str | float | int | None


class Variable(msgspec.Struct, frozen=True):
    """Declaration of a Terraform variable. With `is_nullable`, the value may be null for some
    fleets."""

    name: str
    type: Literal["string", "number"]
    description: str
    is_nullable: bool = False


VARIABLES = (
    Variable("name", "string", "DNS label derived from the profile's name"),
    Variable("provider", "string", "Cloud provider, as named in the price list"),
    Variable("region", "string", 'Region of the provider, or "any"'),
    Variable("instance_type", "string", "Instance type, as named in the price list"),
    Variable("instance_count", "number", "Instances for the peak at the target confidence, including spares"),
    Variable("spare_instance_count", "number", "Number of spares in instance_count"),
    Variable("min_instance_count", "number", "Instances for the quietest hour, including spares"),
    Variable("max_instance_count", "number", "Instances for the peak; equal to instance_count"),
    Variable("replicas_per_instance", "number", "Server replicas per instance"),
    Variable("rate_per_replica", "number", "Planned rate of each replica in req/s"),
    Variable("accelerator", "string", "Key of the accelerator; null for CPUs", is_nullable=True),
    Variable("accelerator_count", "number", "Accelerators per instance; may be a fraction"),
    Variable("vcpus", "number", "vCPUs per instance; null if the price list does not contain them", is_nullable=True),
    Variable("price_kind", "string", "Kind of price: on-demand, reserved-1y, spot or owned"),
    Variable("usd_per_hour_each", "number", "Price of one instance in USD per hour", is_nullable=True),
    Variable("usd_per_month", "number", "Price of all instances for 730 hours in USD", is_nullable=True),
    Variable("price_date", "string", "Date of the price"),
    Variable("price_age_days", "number", "Age of the price on plan_date in days"),
    Variable("price_source", "string", "Source of the price"),
    Variable("confidence", "number", "Target P(SLO met), from 0 to 1"),
    Variable(
        "probability_slo_met",
        "number",
        "P(SLO met) at the peak without the spares; null if not simulated",
        is_nullable=True,
    ),
    Variable("basis", "string", "Basis of the capacity: measured, interpolated, extrapolated or assumed"),
    Variable("risk", "number", "Risk from 0 to 4"),
    Variable("slo", "string", "SLO of the profile"),
    Variable("plan_date", "string", "Date of the plan"),
    Variable("recommendation", "string", "Recommendation of the plan as a sentence"),
)


def build_terraform_values(plan: Plan, settings: ExportSettings) -> str:
    """Build the JSON of a `*.auto.tfvars.json` file with the values of all variables, in a fixed
    order.

    Raises UsageError if the plan recommends no fleet.
    """
    values = _build_values(plan, settings)
    return _dump_json({variable.name: values[variable.name] for variable in VARIABLES})


def build_terraform_variables() -> str:
    """Build the JSON of a `*.tf.json` file that declares all variables with type and
    description."""
    return _dump_json(
        {
            "//": "Sizewise generated this file. It declares the variables of the .auto.tfvars.json file next to it.",
            "variable": {
                variable.name: {
                    "type": variable.type,
                    "description": variable.description,
                    "nullable": variable.is_nullable,
                }
                for variable in VARIABLES
            },
        }
    )


def _build_values(plan: Plan, settings: ExportSettings) -> dict[str, Value]:
    fleet, scale = get_recommended_fleet(plan), compute_scale(plan)
    assert plan.recommendation is not None
    return {
        "name": fill_in_settings(settings, plan).dns_name,
        "provider": fleet.provider,
        "region": fleet.region,
        "instance_type": fleet.instance_type,
        "instance_count": fleet.instances,
        "spare_instance_count": fleet.spare_instances or 0,
        "min_instance_count": math.ceil(scale.min_pods / scale.pods_per_instance),
        "max_instance_count": fleet.instances,
        "replicas_per_instance": scale.pods_per_instance,
        "rate_per_replica": scale.target_per_s,
        "accelerator": fleet.accelerator,
        "accelerator_count": fleet.accelerator_count,
        "vcpus": fleet.vcpus,
        "price_kind": fleet.price_kind,
        "usd_per_hour_each": fleet.usd_per_hour_each,
        "usd_per_month": fleet.usd_per_month.value,
        "price_date": fleet.price_date,
        "price_age_days": fleet.price_age_days,
        "price_source": fleet.price_source,
        "confidence": plan.confidence,
        "probability_slo_met": None if fleet.slo_probabilities is None else fleet.slo_probabilities.planned,
        "basis": fleet.basis,
        "risk": fleet.risk,
        "slo": " and ".join(plan.slo),
        "plan_date": plan.planned_on,
        "recommendation": plan.recommendation.sentence,
    }


def _dump_json(content: object) -> str:
    """Serialize to ASCII-only JSON, which is valid in any encoding."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
