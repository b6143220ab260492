from __future__ import annotations

import pytest

from app.analysis.call_rows import lateness_ms, read_calls
from tests.fakes.calls import call, copied, never, stage_of, table_of


def test_calls_begun_before_the_start_are_warm_up() -> None:
    calls = read_calls(table_of([call(-50, 10), call(-5, 10), call(0, 10), call(10, 10)]), stage_of())
    assert len(calls) == 2
    assert calls.begin_ns[0] == 10**9


def test_calls_are_in_the_order_of_their_ends() -> None:
    calls = read_calls(table_of([call(0, 30, query=0), call(1, 5, query=1, stream=1)]), stage_of("offline", streams=2))
    assert calls.query.tolist() == [1, 0]
    assert calls.stream.tolist() == [1, 0]


def test_parts_of_a_call_add_up_to_it() -> None:
    for rows, is_apart in (([call(0, 10)], False), ([copied(0, 10)], True)):
        calls = read_calls(table_of(rows), stage_of())
        assert calls.copies_apart is is_apart
        parts = {name: calls.part_ms(name)[0] for name in ("prepare_ms", "execute_ms", "post_process_ms")}
        copies = [calls.part_ms(name)[0] for name in ("copy_in_ms", "copy_out_ms")]
        assert sum(parts.values()) + sum(copies) == pytest.approx(10)
        assert copies == pytest.approx([1, 1] if is_apart else [0, 0])
        assert calls.service_ms[0] == pytest.approx(8), "copies and execution"


def test_arrivals_that_were_never_begun_stand_apart() -> None:
    rows = [call(0, 10, due_ms=0), call(10, 10, query=1, due_ms=5), never(2, 7)]
    calls = read_calls(table_of(rows), stage_of("server", rate_per_s=100))
    assert len(calls) == 2
    assert calls.never_begun_ns.tolist() == [10**9 + 7_000_000]


def test_lateness_counts_from_when_it_was_due_and_the_stream_was_free() -> None:
    rows = [
        call(1, 10, query=0, due_ms=0),  # one late, on a stream that was free
        call(11, 10, query=1, due_ms=2),  # waited for the stream: not late
        call(24, 10, query=2, due_ms=22),  # two late
        call(3, 10, query=3, stream=1, due_ms=3),  # another stream, in time
    ]
    calls = read_calls(table_of(rows), stage_of("server", streams=2, rate_per_s=100))
    assert sorted(lateness_ms(calls)) == pytest.approx([0, 0, 1, 2])


def test_no_rows_are_no_calls() -> None:
    calls = read_calls(table_of([]), stage_of())
    assert (len(calls), calls.copies_apart) == (0, False)
