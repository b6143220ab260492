from __future__ import annotations

import pyarrow as pa
import pytest

from app.analysis.objectives import parse_objective
from app.session.tally import Tally
from loadgen.records import REQUEST_SCHEMA

MS = 1_000_000


def batch(*rows: dict[str, object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=REQUEST_SCHEMA)


def answered(latency_ms: int, lag_ms: int = 1, **more: object) -> dict[str, object]:
    return {"intended_ns": MS, "sent_ns": (1 + lag_ms) * MS, "end_ns": (1 + latency_ms) * MS, **more}


def test_good_are_answers_inside_every_limit_and_errors_are_counted_by_class() -> None:
    tally = Tally((parse_objective("latency_ms.p95 < 50"), parse_objective("service_ms.p99 < 10")))
    assert (tally.good, dict(tally.errors), tally.lag_p99_ms) == (0, {}, None)
    tally.take(batch(answered(9), answered(60, 55), answered(30)))
    tally.take(batch(answered(5, error="timeout"), {"intended_ns": MS}))
    tally.count()
    assert tally.good == 1, "the second is late, the third slow from its send, the others no answers"
    assert tally.errors == {"timeout": 1, "not-started": 1}
    assert tally.lag_p99_ms == pytest.approx(53.38), "of 1, 55, 1 and 1 ms"
    tally.take(batch(answered(9), answered(9, error="timeout")))
    tally.count()
    tally.count()
    assert (tally.good, tally.errors["timeout"]) == (2, 2), "what was counted is not counted again"


def test_where_no_start_is_known_a_limit_that_counts_from_it_leaves_good_open() -> None:
    unknown: dict[str, object] = {"intended_ns": None, "sent_ns": MS, "end_ns": 5 * MS}
    for text, good in (("latency_ms.p95 < 50", None), ("service_ms.p95 < 50", 1)):
        tally = Tally((parse_objective(text),))
        tally.take(batch(unknown))
        tally.count()
        assert (tally.good, tally.lag_p99_ms) == (good, None)


def test_the_lag_is_of_the_last_thousand() -> None:
    tally = Tally(())
    for lag_ms in (90, 2):
        tally.take(batch(*[answered(100, lag_ms)] * 1000))
        tally.count()
    assert tally.lag_p99_ms == 2
