"""Recommended fleet as Terraform variables: their values and their declarations."""

from __future__ import annotations

import json
import math
from typing import Literal

import msgspec

from app.planning.exports.names import make_dns_name
from app.planning.exports.scale import compute_scale, recommended_fleet
from app.planning.exports.settings import ExportSettings
from app.records.plan import Plan

Value = str | float | int | None


class Variable(msgspec.Struct, frozen=True):
    """Terraform variable; with `is_nullable` its value may be unknown for some fleets."""

    name: str
    type: Literal["string", "number"]
    description: str
    is_nullable: bool = False


VARIABLES = (
    Variable("name", "string", "A DNS label made of the profile's name."),
    Variable("provider", "string", "The cloud, as the price list calls it."),
    Variable("region", "string", "The provider's region, or any."),
    Variable("instance_type", "string", "The instance type, as the price list calls it."),
    Variable("instance_count", "number", "Instances that carry the peak at the assurance, spares included."),
    Variable("spare_instance_count", "number", "How many of instance_count are spares."),
    Variable("min_instance_count", "number", "Instances for the traffic's quietest hour, spares included."),
    Variable("max_instance_count", "number", "Instances for its peak: instance_count."),
    Variable("replicas_per_instance", "number", "Replicas of the server on one instance."),
    Variable("rate_per_replica", "number", "Requests per second that the plan sizes each replica for."),
    Variable("accelerator", "string", "Key of the accelerator; null for CPUs.", is_nullable=True),
    Variable("accelerator_count", "number", "Accelerators of one instance; a part of one is a fraction."),
    Variable("vcpus", "number", "vCPUs of one instance; null where the price list does not tell.", is_nullable=True),
    Variable("price_kind", "string", "on demand, reserved 1y, spot or owned."),
    Variable("usd_per_hour_each", "number", "Price of one instance, USD an hour.", is_nullable=True),
    Variable("usd_per_month", "number", "Of all instances over 730 hours, USD.", is_nullable=True),
    Variable("price_date", "string", "The day the price is of."),
    Variable("price_age_days", "number", "Its age on plan_date."),
    Variable("price_source", "string", "The price list."),
    Variable("assurance", "number", "The P(SLO met) that was asked for, 0 to 1."),
    Variable(
        "chance_slo_met", "number", "P(SLO met) at the peak with the spares out; null: not simulated.", is_nullable=True
    ),
    Variable("basis", "string", "measured, interpolated, extrapolated or assumed."),
    Variable("risk", "number", "0 to 4."),
    Variable("slo", "string", "What is held, as the profile says it."),
    Variable("plan_date", "string", "The day of the plan."),
    Variable("recommendation", "string", "The plan's sentence."),
)


def build_terraform_values(plan: Plan, settings: ExportSettings) -> str:
    """Return the values as JSON for a `*.auto.tfvars.json`, in a fixed order.

    Raises UsageError where the plan recommends nothing.
    """
    values = _values(plan, settings)
    return _json({variable.name: values[variable.name] for variable in VARIABLES})


def build_terraform_variables() -> str:
    """Return the variable declarations as JSON for a `*.tf.json`, with types and descriptions."""
    return _json(
        {
            "//": "Declares the variables of the file beside it that ends in .auto.tfvars.json; made by Sizewise.",
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


def _values(plan: Plan, settings: ExportSettings) -> dict[str, Value]:
    fleet, scale = recommended_fleet(plan), compute_scale(plan)
    assert plan.recommendation is not None
    return {
        "name": make_dns_name(settings.name),
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
        "assurance": plan.assurance,
        "chance_slo_met": None if fleet.chances is None else fleet.chances.planned,
        "basis": fleet.basis,
        "risk": fleet.risk,
        "slo": " and ".join(plan.slo),
        "plan_date": plan.planned_on,
        "recommendation": plan.recommendation.sentence,
    }


def _json(content: object) -> str:
    """Return the content as ASCII JSON, which is valid in any reader's encoding."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
