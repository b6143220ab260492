from __future__ import annotations

import pytest

from app.planning.service_speed import faster_target
from app.records.service import RequestService
from tests.fakes.offers import curve, target
from tests.fakes.services import fit_of, fitted

LAW = RequestService(2, 1.0, 0.5, outside_s=0.2)
MEASURED = target(fit=fit_of(fitted(LAW, mean_s=0.1), highest_per_s=1.8))


def test_all_that_was_measured_moves_along_and_is_assumed() -> None:
    found = faster_target(MEASURED, 2.0)
    assert found.fit is not None
    assert MEASURED.fit is not None
    assert found.fit.laws[0].service == RequestService(2, 0.5, 0.5, outside_s=0.2)
    assert found.fit.laws[0].log_covariance == MEASURED.fit.laws[0].log_covariance
    assert found.fit.highest_per_s == 3.6
    assert (found.curve.max_rate_per_s, found.curve.max_rate_ci95) == (200.0, (190.0, 210.0))
    assert found.is_assumed
    assert (found.name, found.hardware) == (MEASURED.name, MEASURED.hardware)


def test_every_point_of_the_curve_is_at_a_higher_rate_and_a_shorter_time() -> None:
    for before, after in zip(MEASURED.curve.points, faster_target(MEASURED, 4.0).curve.points, strict=True):
        assert after.offered_per_s == pytest.approx(4 * before.offered_per_s)
        assert after.achieved_per_s == pytest.approx(4 * before.achieved_per_s)
        assert after.latency_ms == pytest.approx((before.latency_ms or 0.0) / 4)
        assert after.held == before.held


def test_what_was_not_measured_stays_unknown() -> None:
    found = faster_target(target(curve(max_rate_ci95=None)), 2.0)
    assert (found.fit, found.curve.max_rate_ci95) == (None, None)
