from array import array

import pytest

from loadgen.records import REQUEST_SCHEMA
from loadgen.transport.exchange import Exchange, ServerDetails, Tokens
from loadgen.worker.rows import build_record_batch


def exchange(index: int, **reported: object) -> Exchange:
    made = Exchange(index, 0, 1_000 + index, b"", print)
    for name, value in ({"sent_ns": 1_001 + index, "end_ns": 1_002 + index, "status": 200} | reported).items():
        setattr(made, name, value)
    return made


def test_a_row_says_what_the_exchange_says() -> None:
    reported = {"first_byte_ns": 7, "bytes_received": 8, "reused": True, "correct_rows": 3, "target": 2}
    (row,) = build_record_batch(5, [exchange(4, **reported)]).to_pylist()
    assert row == dict.fromkeys(REQUEST_SCHEMA.names) | reported | {
        "stage": 5,
        "index": 4,
        "worker": 0,
        "scheduled_ns": 1_004,
        "sent_ns": 1_005,
        "end_ns": 1_006,
        "status": 200,
        "connection_wait_ms": 0.0,
    }


def test_the_wait_for_a_connection_is_from_the_need_of_one_to_the_send() -> None:
    waiting = exchange(1, queued_ns=500_000, sent_ns=3_000_000, first_byte_ns=4_000_000)
    never_answered = exchange(2, queued_ns=500_000, sent_ns=500_000, error="connect")
    rows = build_record_batch(1, [exchange(0, first_byte_ns=7), waiting, never_answered])
    assert rows.column("connection_wait_ms").to_pylist() == [0.0, 2.5, None]


def test_columns_that_are_alike_and_columns_that_are_not_hold_the_same() -> None:
    alike = [exchange(index) for index in range(3)]
    mixed = [
        exchange(0),
        exchange(1, status=None, error="timeout", sent_ns=None),
        exchange(2, reused=True, correct_rows=0),
    ]
    assert build_record_batch(1, alike).column("status").to_pylist() == [200, 200, 200]
    rows = build_record_batch(1, mixed)
    assert rows.column("status").to_pylist() == [200, None, 200]
    assert rows.column("error").to_pylist() == [None, "timeout", None]
    assert rows.column("sent_ns").to_pylist() == [1_001, None, 1_003]
    assert rows.column("reused").to_pylist() == [False, False, True]
    assert rows.column("correct_rows").to_pylist() == [None, None, 0]
    assert rows.schema == build_record_batch(1, alike).schema == REQUEST_SCHEMA


def test_the_class_is_that_of_the_prepared_request() -> None:
    exchanges = [exchange(index, request_index=index % 3) for index in range(5)]
    rows = build_record_batch(1, exchanges, class_indices=[0, 1, 1])
    assert rows.column("class").to_pylist() == [0, 1, 1, 0, 1]


class Reader:
    tokens = Tokens(11, 12, 13, 4, 5, "server", [11, 13], [2, None], 10, ServerDetails(3, 2, 1, 40, 50, 60))
    detail = None

    def feed(self, piece: bytes, at_ns: int, /) -> None: ...


@pytest.mark.parametrize("reported", [{"tokens": Reader.tokens}, {"reader": Reader()}])
def test_tokens_are_beside_rows_that_have_none(reported: dict[str, object]) -> None:
    rows = build_record_batch(1, [exchange(0), exchange(1, **reported)]).to_pylist()
    names = [name for name in (*Tokens.__struct_fields__, *ServerDetails.__struct_fields__) if name != "details"]
    assert [rows[0][name] for name in names] == [None] * 15
    assert [rows[1][name] for name in names] == [
        11, 12, 13, 4, 5, "server", [11, 13], [2, None], 10, 3, 2, 1, 40, 50, 60,
    ]  # fmt: skip


def test_each_row_has_its_own_times_of_chunks() -> None:
    lists = [[1, 2], None, [], array("q", [2**62, 3, 4]), None]
    rows = build_record_batch(1, [exchange(i, tokens=Tokens(chunk_ns=each)) for i, each in enumerate(lists)])
    assert rows.column("chunk_ns").to_pylist() == [[1, 2], None, [], [2**62, 3, 4], None]
    rows.validate(full=True)


@pytest.mark.parametrize("asked", [[100, 7, None], [7, 7, 7]])
def test_what_each_request_asked_for_is_reported_by_its_number(asked: list[int | None]) -> None:
    rows = build_record_batch(
        1,
        [exchange(0, request_index=2), exchange(1, request_index=0), exchange(2, request_index=2, error="timeout")],
        asked,
    )
    assert rows.column("max_output_tokens").to_pylist() == [asked[2], asked[0], asked[2]]
    assert build_record_batch(1, [exchange(0)]).column("max_output_tokens").to_pylist() == [None]
