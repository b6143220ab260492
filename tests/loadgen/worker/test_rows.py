from array import array

import pytest

from loadgen.records import REQUEST_SCHEMA
from loadgen.transport.exchange import Exchange, ServerDetails, Tokens
from loadgen.worker.rows import build_record_batch


def make_exchange(index: int, **fields: object) -> Exchange:
    result = Exchange(index, 0, 1_000 + index, b"", print)
    for name, value in ({"sent_ns": 1_001 + index, "end_ns": 1_002 + index, "status": 200} | fields).items():
        setattr(result, name, value)
    return result


def test_row_has_fields_of_exchange() -> None:
    fields = {"first_byte_ns": 7, "bytes_received": 8, "reused": True, "correct_rows": 3, "target": 2}
    (row,) = build_record_batch(5, [make_exchange(4, **fields)]).to_pylist()
    assert row == dict.fromkeys(REQUEST_SCHEMA.names) | fields | {
        "stage": 5,
        "index": 4,
        "worker": 0,
        "scheduled_ns": 1_004,
        "sent_ns": 1_005,
        "end_ns": 1_006,
        "status": 200,
        "connection_wait_ms": 0.0,
    }


def test_connection_wait_is_time_from_queueing_to_send() -> None:
    waiting = make_exchange(1, queued_ns=500_000, sent_ns=3_000_000, first_byte_ns=4_000_000)
    without_response = make_exchange(2, queued_ns=500_000, sent_ns=500_000, error="connect")
    rows = build_record_batch(1, [make_exchange(0, first_byte_ns=7), waiting, without_response])
    assert rows.column("connection_wait_ms").to_pylist() == [0.0, 2.5, None]


def test_uniform_and_mixed_columns_have_values_of_exchanges() -> None:
    uniform = [make_exchange(index) for index in range(3)]
    mixed = [
        make_exchange(0),
        make_exchange(1, status=None, error="timeout", sent_ns=None),
        make_exchange(2, reused=True, correct_rows=0),
    ]
    assert build_record_batch(1, uniform).column("status").to_pylist() == [200, 200, 200]
    rows = build_record_batch(1, mixed)
    assert rows.column("status").to_pylist() == [200, None, 200]
    assert rows.column("error").to_pylist() == [None, "timeout", None]
    assert rows.column("sent_ns").to_pylist() == [1_001, None, 1_003]
    assert rows.column("reused").to_pylist() == [False, False, True]
    assert rows.column("correct_rows").to_pylist() == [None, None, 0]
    assert rows.schema == build_record_batch(1, uniform).schema == REQUEST_SCHEMA


def test_class_of_row_is_class_of_prepared_request() -> None:
    exchanges = [make_exchange(index, request_index=index % 3) for index in range(5)]
    rows = build_record_batch(1, exchanges, class_indices=[0, 1, 1])
    assert rows.column("class").to_pylist() == [0, 1, 1, 0, 1]


class Reader:
    tokens = Tokens(11, 12, 13, 4, 5, "server", [11, 13], [2, None], 10, ServerDetails(3, 2, 1, 40, 50, 60))
    detail = None

    def feed(self, piece: bytes, at_ns: int, /) -> None: ...


@pytest.mark.parametrize("fields", [{"tokens": Reader.tokens}, {"reader": Reader()}])
def test_rows_with_and_without_tokens_are_in_one_batch(fields: dict[str, object]) -> None:
    rows = build_record_batch(1, [make_exchange(0), make_exchange(1, **fields)]).to_pylist()
    names = [name for name in (*Tokens.__struct_fields__, *ServerDetails.__struct_fields__) if name != "details"]
    assert [rows[0][name] for name in names] == [None] * 15
    assert [rows[1][name] for name in names] == [
        11, 12, 13, 4, 5, "server", [11, 13], [2, None], 10, 3, 2, 1, 40, 50, 60,
    ]  # fmt: skip


def test_each_row_has_its_own_chunk_times() -> None:
    lists = [[1, 2], None, [], array("q", [2**62, 3, 4]), None]
    rows = build_record_batch(1, [make_exchange(i, tokens=Tokens(chunk_ns=times)) for i, times in enumerate(lists)])
    assert rows.column("chunk_ns").to_pylist() == [[1, 2], None, [], [2**62, 3, 4], None]
    rows.validate(full=True)


@pytest.mark.parametrize("max_output_tokens", [[100, 7, None], [7, 7, 7]])
def test_max_output_tokens_of_prepared_request_are_in_row(max_output_tokens: list[int | None]) -> None:
    rows = build_record_batch(
        1,
        [
            make_exchange(0, request_index=2),
            make_exchange(1, request_index=0),
            make_exchange(2, request_index=2, error="timeout"),
        ],
        max_output_tokens,
    )
    assert rows.column("max_output_tokens").to_pylist() == [
        max_output_tokens[2],
        max_output_tokens[0],
        max_output_tokens[2],
    ]
    assert build_record_batch(1, [make_exchange(0)]).column("max_output_tokens").to_pylist() == [None]
