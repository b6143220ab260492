"""Processors differ in the last bits of exp, log and matrix products. A fit must not depend on them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from app.planning.service_models.closed_loop import fit_closed_loop
from app.planning.service_models.service_fit import fit_service
from app.planning.service_models.token_fit import fit_token_service
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import RequestService, ServiceFit
from tests.app.planning.service_models import test_closed_loop, test_token_fit
from tests.fakes.services import measured_load_points

SLOW_SHARE = RequestService(4, 0.05, 0.3, 0.005, 0.1, 6.0)

Fit = Callable[[list[MeasuredLoadPoint]], ServiceFit]


def change_last_bit(load_point: MeasuredLoadPoint, towards: float) -> MeasuredLoadPoint:
    latencies_s = {
        metric: {name: math.nextafter(value, towards) for name, value in values_s.items()}
        for metric, values_s in load_point.latencies_s.items()
    }
    return replace(load_point, latencies_s=latencies_s)


@pytest.mark.parametrize(
    ("load_points", "fit"),
    [
        ([test_closed_loop.simulate_load_point(clients, requests=200) for clients in (1, 4, 16)], fit_closed_loop),
        ([test_closed_loop.simulate_load_point(clients, SLOW_SHARE, 200) for clients in (1, 4, 16)], fit_closed_loop),
        (measured_load_points(SLOW_SHARE, (0.2, 0.5, 0.7, 0.85), 400), fit_service),
        ([test_token_fit.simulate_load_point(per_s, requests=200) for per_s in (0.5, 2.0, 9.0)], fit_token_service),
    ],
    ids=["closed loop", "closed loop with slow requests", "open loop with slow requests", "tokens"],
)
def test_fit_does_not_depend_on_the_last_bit_of_latencies(load_points: list[MeasuredLoadPoint], fit: Fit) -> None:
    services = fit(load_points).services
    for towards in (0.0, math.inf):
        changed_services = fit([change_last_bit(load_point, towards) for load_point in load_points]).services
        for service, changed in zip(services, changed_services, strict=True):
            assert changed.parameters == service.parameters
            assert changed.probability == pytest.approx(service.probability, abs=1e-6)
            for name in service.parameters:
                assert getattr(changed.service, name) == pytest.approx(getattr(service.service, name), rel=1e-6)
