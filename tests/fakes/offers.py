"""Offers, catalogues and curves with only what a test cares about."""

from __future__ import annotations

import datetime
from typing import Any

from app.records.offers import Accelerator, CapacityCurve, Catalogue, CurvePoint, Offer

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


def catalogue(*offers: Offer) -> Catalogue:
    parts = [accelerator("l4", "L4"), accelerator("l40s", "L40S")]
    return Catalogue({part.key: part for part in parts}, offers)


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
