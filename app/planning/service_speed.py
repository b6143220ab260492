"""The same target, faster: what another precision, runtime or model would be, were it so many times as fast."""

from __future__ import annotations

import msgspec

from app.records.curves import Rung
from app.records.offers import CapacityCurve
from app.records.plan_question import MeasuredTarget
from app.records.service import BatchService, RequestService, ServiceFit, ServiceModel, TokenService


def faster(service: ServiceModel, speed: float) -> ServiceModel:
    """A replica so many times as fast; what is outside of it stays."""
    if speed == 1:
        return service
    match service:
        case RequestService():
            return msgspec.structs.replace(service, mean_s=service.mean_s / speed)
        case BatchService():
            fixed_s, per_item_s = service.fixed_s / speed, service.per_item_s / speed
            return msgspec.structs.replace(service, fixed_s=fixed_s, per_item_s=per_item_s)
        case TokenService():
            return msgspec.structs.replace(
                service,
                step_s=service.step_s / speed,
                per_sequence_s=service.per_sequence_s / speed,
                per_kv_token_s=service.per_kv_token_s / speed,
                prefill_s_per_token=service.prefill_s_per_token / speed,
            )


def faster_target(target: MeasuredTarget, speed: float) -> MeasuredTarget:
    """All that was measured of it moved along; it is assumed from then on."""
    fit = None if target.fit is None else _faster_fit(target.fit, speed)
    points = tuple(_faster_point(point, speed) for point in target.load_points)
    curve = _faster_curve(target.curve, speed)
    return msgspec.structs.replace(target, curve=curve, fit=fit, load_points=points, is_assumed=True)


def _faster_point(point: Rung, speed: float) -> Rung:
    return msgspec.structs.replace(
        point,
        offered_per_s=None if point.offered_per_s is None else point.offered_per_s * speed,
        achieved_per_s=point.achieved_per_s * speed,
        duration_s=None if point.duration_s is None else point.duration_s / speed,
        latencies_s={
            time: {name: value / speed for name, value in times.items()} for time, times in point.latencies_s.items()
        },
    )


def _faster_fit(fit: ServiceFit, speed: float) -> ServiceFit:
    laws = tuple(msgspec.structs.replace(law, service=faster(law.service, speed)) for law in fit.laws)
    return msgspec.structs.replace(
        fit, laws=laws, lowest_per_s=fit.lowest_per_s * speed, highest_per_s=fit.highest_per_s * speed
    )


def _faster_curve(curve: CapacityCurve, speed: float) -> CapacityCurve:
    points = tuple(
        msgspec.structs.replace(
            point,
            offered_per_s=point.offered_per_s * speed,
            achieved_per_s=point.achieved_per_s * speed,
            latency_ms=None if point.latency_ms is None else point.latency_ms / speed,
        )
        for point in curve.points
    )
    found = curve.max_rate_ci95
    return msgspec.structs.replace(
        curve,
        points=points,
        max_rate_per_s=curve.max_rate_per_s * speed,
        max_rate_ci95=None if found is None else (found[0] * speed, found[1] * speed),
    )
