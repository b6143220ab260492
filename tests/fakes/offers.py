"""Offers, catalogs, curves and planning inputs with only the fields that a test needs."""

from __future__ import annotations

import datetime
from typing import Any

from app.analysis.objectives import parse_objective
from app.records.offers import Accelerator, CapacityCurve, Catalog, CurvePoint, Offer, PlanLimits
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.result import Hardware, Traffic
from app.records.service import ServiceFit

TODAY = datetime.date(2026, 8, 1)


def offer(instance_type: str = "c16", **changes: Any) -> Offer:
    fields: dict[str, Any] = {
        "provider": "acme", "instance_type": instance_type, "region": "here", "accelerator": None,
        "accelerator_count": 0.0, "vcpus": 16.0, "memory_gib": 32.0, "on_demand_usd_per_hour": 1.0,
        "spot_usd_per_hour": None, "reserved_1y_usd_per_hour": None, "as_of": TODAY, "source": "karp-aws",
        "cpu_architecture": "x86_64",
    }  # fmt: skip
    return Offer(**(fields | changes))


def gpu_offer(instance_type: str, accelerator: str, count: float = 1.0, **changes: Any) -> Offer:
    return offer(instance_type, accelerator=accelerator, accelerator_count=count, **changes)


def accelerator(key: str, name: str) -> Accelerator:
    return Accelerator(key, "NVIDIA", name, None, "Ada", 24.0, 300.0, 30.0, 120.0, 240.0, 72.0, 2023, "nv-ds")


def catalog_of(*offers: Offer) -> Catalog:
    parts = [accelerator("l4", "L4"), accelerator("l40s", "L40S")]
    return Catalog({part.key: part for part in parts}, offers)


def curve(max_rate_per_s: float = 100.0, **changes: Any) -> CapacityCurve:
    points = [(0.1, 5.0), (0.4, 6.0), (0.7, 10.0), (0.9, 24.0), (1.0, 45.0), (1.0, 47.0), (1.3, 400.0)]
    fields: dict[str, Any] = {
        "points": tuple(
            CurvePoint(max_rate_per_s * share, latency_ms, max_rate_per_s * share, share <= 1)
            for share, latency_ms in points
        ),
        "latency_metric": "latency_ms.p95",
        "max_rate_per_s": max_rate_per_s,
        "max_rate_ci95": (max_rate_per_s * 0.95, max_rate_per_s * 1.05),
        "cores_used": 1.0,
    }
    return CapacityCurve(**(fields | changes))


def target(
    what: CapacityCurve | None = None, hardware: Hardware | None = None, fit: ServiceFit | None = None, **changes: Any
) -> MeasuredTarget:
    """Measured on acme/c16 by default; without a fit only its max rate is known."""
    why = None if fit is not None else "too few rates were measured"
    on = hardware or Hardware("acme/c16", offer="acme/c16", vcpus=16, architecture="x86_64")
    fields: dict[str, Any] = {
        "name": "run-1",
        "hardware": on,
        "curve": what or curve(),
        "fit": fit,
        "no_fit_reason": why,
    }
    return MeasuredTarget(**(fields | changes))


def planning_inputs(
    *measured: MeasuredTarget, peak_per_s: float = 2000.0, catalog: Catalog | None = None,
    limits: PlanLimits | None = None, slo: tuple[str, ...] = ("latency_ms.p95 < 50",),
    today: datetime.date = TODAY, **traffic: Any,
) -> PlanningInputs:  # fmt: skip
    """Constant traffic at the peak rate, with one offer where no catalog is given."""
    fields: dict[str, Any] = {"peak_per_s": peak_per_s, "shape": "flat", "hourly_share": (1.0,) * 24}
    return PlanningInputs(
        measured=measured or (target(),),
        traffic=Traffic(**(fields | traffic)),
        slo=tuple(parse_objective(text) for text in slo),
        limits=limits or PlanLimits(),
        catalog=catalog or catalog_of(offer()),
        today=today,
    )
