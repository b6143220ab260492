from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from app.gui.live.series import LiveSeries
from tests.fakes.live_runs import ZERO_NS, begun, snapshot


def test_rates_are_of_the_last_second_and_each_stage_counts_anew() -> None:
    series = LiveSeries()
    series.begin(begun(0, 1), ZERO_NS)
    for at_s in np.arange(1.25, 5, 0.25):
        series.take(snapshot(0, at_s, 1, 100 if at_s <= 3 else 0), ZERO_NS)
    series.begin(begun(1, 6), ZERO_NS)
    series.take(replace(snapshot(1, 6.5, 6, 40), good=None, in_flight=None), ZERO_NS)
    ring = series.ring
    assert ring.x[0] == 1
    assert np.isnan(ring.column("sent")[0]), "nothing joins one stage with another"
    assert ring.column("offered")[1:9].tolist() == pytest.approx([100] * 8, abs=1)
    assert ring.x[-1] == 6.5
    assert ring.column("completed")[-1] == pytest.approx(40)
    assert np.isnan(ring.column("good")[-1]), "not known is a gap, and not zero"
    assert np.isnan(ring.column("in_flight")[-1])
    assert ring.column("lag")[-1] == 0.3


def test_a_rate_over_no_time_is_none() -> None:
    series = LiveSeries()
    series.begin(begun(0, 1), ZERO_NS)
    series.take(snapshot(0, 1.05, 1), ZERO_NS)
    assert np.isnan(series.ring.column("sent")[-1])
    assert series.ring.column("p95")[-1] > 0


def test_snapshots_without_a_stage_are_no_rates() -> None:
    series = LiveSeries()
    series.take(snapshot(0, 2, 1), ZERO_NS)
    assert np.isnan(series.ring.column("sent")[-1])
