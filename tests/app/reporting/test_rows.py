from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pytest

from app.analysis.rows import NOT_STARTED
from app.records.result import ErrorSample
from app.reporting.load import headline_stages
from app.reporting.rows import MAX_POINTS, error_rows, load_series, request_times, spectra
from tests.fakes.results import START_NS, full_run

_RUN = full_run().result
RESULT = msgspec.structs.replace(_RUN, clock=msgspec.structs.replace(_RUN.clock, load_start_ns=START_NS))


def _rows(intended_s: list[float], took_ms: float = 10.0, error: str | None = None) -> pd.DataFrame:
    intended = (START_NS + np.array(intended_s) * 1e9).astype(np.int64)
    end = intended + int(took_ms * 1e6)
    return pd.DataFrame(
        {
            "intended_ns": intended,
            "sent_ns": pd.array(intended, dtype="Int64"),
            "first_byte_ns": pd.array(end, dtype="Int64"),
            "end_ns": pd.array(end, dtype="Int64"),
            "error": np.full(len(intended), error, dtype=object),
        }
    )


def test_rates_are_counts_per_bin_and_good_means_inside_the_latency_limit() -> None:
    rows = pd.concat([_rows([0.1, 0.2, 0.3]), _rows([1.5], took_ms=60.0), _rows([2.5], error="timeout")])
    series = load_series(request_times(rows, RESULT))

    assert series is not None
    assert series.at_s == (0.5, 1.5, 2.5)
    assert series.offered_per_s == series.sent_per_s == (3.0, 1.0, 1.0)
    assert series.completed_per_s == (3.0, 1.0, 0.0)
    assert series.good_per_s == (3.0, 0.0, 0.0)
    assert series.p95_ms == (10.0, 60.0, None)


def test_in_flight_is_what_was_sent_and_has_not_ended() -> None:
    rows = pd.concat([_rows([0.5], took_ms=2000.0), _rows([0.9], took_ms=300.0)])
    series = load_series(request_times(rows, RESULT))
    assert series is not None
    assert series.in_flight == (2, 1, 0)


def test_a_long_run_has_a_bounded_number_of_bins_and_loses_no_request() -> None:
    rows = _rows(list(np.linspace(0, 7200, 10_000)))
    series = load_series(request_times(rows, RESULT))
    assert series is not None
    assert len(series.at_s) <= MAX_POINTS
    assert sum(series.offered_per_s) * series.bin_s == pytest.approx(10_000, abs=1)


def test_errors_are_counted_by_class_with_those_never_started() -> None:
    late = _rows([4.0, 5.0])
    late["sent_ns"] = late["end_ns"] = late["first_byte_ns"] = pd.array([None, None], dtype="Int64")
    rows = pd.concat([_rows([0.1, 0.2]), _rows([1.0, 2.0, 3.0], error="http-5xx"), late])
    found = error_rows(request_times(rows, RESULT))

    assert [(row.error, row.count) for row in found] == [("http-5xx", 3), (NOT_STARTED, 2)]
    assert (found[0].first_s, found[0].last_s) == (1.0, 3.0)
    assert found[0].share.value == pytest.approx(3 / 7)


def test_of_each_class_of_errors_is_told_what_was_seen_first() -> None:
    requests = request_times(pd.concat([_rows([1.0], error="http-5xx"), _rows([2.0], error="tls")]), RESULT)
    samples = (ErrorSample("http-5xx", 9, "later"), ErrorSample("http-5xx", 5, "status 503"))
    stages = [msgspec.structs.replace(RESULT.stages[-1], error_samples=(one,)) for one in samples]
    assert [(row.error, row.sample) for row in error_rows(requests, stages)] == [("http-5xx", "status 503"),
                                                                                 ("tls", None)]  # fmt: skip


def test_the_spectrum_pools_the_holds_and_ends_where_samples_do() -> None:
    run = full_run()
    stages = headline_stages(run.result)
    latency, service = spectra(request_times(run.rows, run.result), stages)

    assert [stage.name for stage in stages] == ["3 holds at 218/s"]
    assert latency.n == service.n == stages[0].completed
    assert list(latency.ms) == sorted(latency.ms)
    assert 0.99 < latency.share[-1] < 0.999


def test_nothing_asked_is_no_series() -> None:
    requests = request_times(pd.DataFrame(), RESULT)
    assert load_series(requests) is None
    assert error_rows(requests) == ()
    assert spectra(requests, headline_stages(RESULT)) == ()
