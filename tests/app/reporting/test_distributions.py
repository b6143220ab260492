from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pandas as pd
import pytest

from app.records.result import Window
from app.reporting.distributions import MOST_COLUMNS, MOST_ROWS, MOST_STEPS, distributions, heat_map
from app.reporting.rows import RequestTimes, request_times
from tests.fakes.results import START_NS, full_run

_RUN = full_run()
_STAGE = msgspec.structs.replace(_RUN.result.stages[-1], window=Window(START_NS, START_NS + 10**12))


def _requests(took_ms: Sequence[float], every_s: float = 0.01) -> RequestTimes:
    intended_ns = START_NS + (np.arange(len(took_ms)) * every_s * 1e9).astype(np.int64)
    rows = pd.DataFrame(
        {
            "intended_ns": intended_ns,
            "sent_ns": intended_ns,
            "first_byte_ns": intended_ns,
            "end_ns": intended_ns + (np.array(took_ms) * 1e6).astype(np.int64),
            "error": None,
        }
    )
    requests = request_times(rows, _RUN.result)
    assert requests is not None
    return requests


def test_few_answers_are_all_steps() -> None:
    latency, service = distributions(_requests([4.0, 1.0, 2.0, 2.0]), (_STAGE,))
    assert latency.ms == (1.0, 2.0, 2.0, 4.0)
    assert latency.share == (0.25, 0.5, 0.75, 1.0)
    assert service.n == latency.n == 4


def test_many_answers_keep_their_ends_and_a_bounded_number_of_steps() -> None:
    took = np.random.default_rng(1).gamma(2, 10, 50_000)
    (latency, _) = distributions(_requests(took.tolist()), (_STAGE,))
    assert len(latency.ms) == MOST_STEPS
    assert latency.ms[0] == pytest.approx(took.min(), abs=1e-4)
    assert latency.ms[-1] == pytest.approx(took.max(), abs=1e-4)
    middle = latency.ms[next(place for place, share in enumerate(latency.share) if share >= 0.5)]
    assert middle == pytest.approx(np.median(took), rel=0.02)


def test_what_is_outside_of_the_stages_is_left_out() -> None:
    late = msgspec.structs.replace(_STAGE, window=Window(START_NS + 15_000_000, START_NS + 10**9))
    (latency, _) = distributions(_requests([1.0, 2.0, 3.0, 4.0]), (late,))
    assert latency.ms == (3.0, 4.0)
    assert distributions(None, (_STAGE,)) == ()


@pytest.mark.parametrize(("count", "every_s"), [(500, 0.01), (3, 1.0), (20_000, 10.0)])
def test_the_heat_map_holds_every_answer_in_a_bounded_number_of_cells(count: int, every_s: float) -> None:
    took = np.random.default_rng(2).lognormal(3, 2, count)
    heat = heat_map(_requests(took.tolist(), every_s))
    assert heat is not None
    assert sum(map(sum, heat.counts)) == count
    assert len(heat.counts) == len(heat.edges_ms) - 1 <= MOST_ROWS
    assert all(len(row) == len(heat.from_s) <= MOST_COLUMNS for row in heat.counts)
    assert heat.edges_ms[0] <= took.min()
    assert took.max() < heat.edges_ms[-1]


def test_a_run_of_five_seconds_has_more_than_five_columns() -> None:
    heat = heat_map(_requests([1.0, 2.0] * 250))
    assert heat is not None
    assert heat.bin_s == 0.1
    assert len(heat.from_s) == 50


def test_an_answer_is_where_it_began_and_as_high_as_it_took() -> None:
    heat = heat_map(_requests([1.0, 1.0, 8.0], every_s=1.0))
    assert heat is not None
    assert [row.index(1) for row in heat.counts if sum(row) == 1] == [round(2 / heat.bin_s)]
    slowest = len(heat.counts) - 1
    assert heat.edges_ms[slowest] <= 8.0 < heat.edges_ms[slowest + 1]
    assert heat.counts[slowest][round(2 / heat.bin_s)] == 1


def test_nothing_answered_or_all_alike_is_no_map() -> None:
    assert heat_map(None) is None
    assert heat_map(_requests([5.0, 5.0])) is None
