import json
import tracemalloc

import numpy as np
import pytest

from loadgen.protocols.built import ResponseCheck
from loadgen.protocols.oip_answers import read_outputs
from loadgen.protocols.oip_outputs import AnswerError, judge_outputs
from loadgen.transport.exchange import Headers


def json_answer(data: str, datatype: str = "FP32", shape: str = "[1, 2]") -> bytes:
    return f'{{"outputs": [{{"name": "o", "datatype": "{datatype}", "shape": {shape}, "data": {data}}}]}}'.encode()


def binary_answer(blob: bytes, size: int, datatype: str = "FP32", shape: str = "[1, 2]") -> tuple[Headers, bytes]:
    head = (
        f'{{"outputs": [{{"name": "o", "datatype": "{datatype}", "shape": {shape}, '
        f'"parameters": {{"binary_data_size": {size}}}}}]}}'
    ).encode()
    return [(b"inference-Header-Content-Length", str(len(head)).encode())], head + blob


def test_numbers_come_flat_or_nested() -> None:
    for data in ("[1.5, 2]", "[[1.5, 2]]"):
        (tensor,) = read_outputs([], json_answer(data))
        assert tensor.dtype == np.float32
        assert tensor.tolist() == [[1.5, 2.0]]


def test_binary_outputs_follow_the_head_in_order() -> None:
    head = (
        b'{"outputs": [{"datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}},'
        b'{"datatype": "INT64", "shape": [1], "data": [5]},'
        b'{"datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10}},'
        b'{"datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}}]}'
    )
    body = head + np.float32(2.5).tobytes() + b"\x01\0\0\0a\x01\0\0\0b" + np.array([7, 8], "<i2").tobytes()
    outputs = read_outputs([(b"Inference-Header-Content-Length", str(len(head)).encode())], body)
    assert [output.tolist() for output in outputs] == [[[2.5]], [5], [], [7, 8]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"{}",
        b'{"outputs": []}',
        b'{"outputs": [{"datatype": "FP32", "shape": [1]}]}',
        json_answer("[1]"),
        json_answer("[1, 2, 3]"),
        json_answer('["a", "b"]'),
        json_answer("[1, null]", datatype="INT64"),
        json_answer("[[1], [2, 3]]"),
        json_answer("[1, 2]", datatype="COMPLEX"),
        json_answer("[1, 300]", datatype="UINT8"),
        json_answer("[]", shape="[-1, 0]"),
        json_answer("NaN, oops"),
        json_answer("[1]", shape=str([1] * 65)),
        json_answer("[1]", datatype="BYTES", shape=str([1] * 65)),
        json_answer("[]", shape=f"[0, {10**30}]"),
        json_answer("[" * 90 + "]" * 90, shape="[0]"),
        json_answer("[" * 100_000),
        json_answer("[" * 100_000 + "NaN"),
        json_answer("[1, 2]", datatype="BYTES"),
        json_answer('[["a"], ["b", "c"]]', datatype="BYTES"),
    ],
)
def test_json_that_breaks_the_promise_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerError):
        read_outputs([], body)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        binary_answer(b"\0" * 7, 7),
        binary_answer(b"\0" * 7, 8),
        binary_answer(b"\0" * 9, 8),
        binary_answer(b"\0" * 8, -8),
        binary_answer(b"", 0, shape=f"[0, {10**30}]"),
        binary_answer(b"\0" * 4, 4, shape=str([1] * 65)),
        binary_answer(b"\x05\0\0\0ab", 6, "BYTES", "[1]"),
        binary_answer(b"\x01\0\0\0ab", 6, "BYTES", "[1]"),
        ([(b"Inference-Header-Content-Length", b"99")], b"{}"),
        ([(b"Inference-Header-Content-Length", b"-1")], b"{}"),
        ([(b"Inference-Header-Content-Length", b"two")], b"{}"),
    ],
)
def test_sizes_that_do_not_add_up_are_refused(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    with pytest.raises(AnswerError):
        read_outputs(headers, body)


def test_nan_is_a_bad_output_however_it_is_written() -> None:
    headers, body = binary_answer(np.array([1, np.nan], np.float32).tobytes(), 8)
    assert judge_outputs(read_outputs(headers, body), None) == ResponseCheck("bad-output")
    assert judge_outputs(read_outputs([], json_answer("[1, NaN]")), None) == ResponseCheck("bad-output")
    assert judge_outputs(read_outputs([], json_answer("[1, null]")), None) == ResponseCheck("bad-output")
    assert judge_outputs(read_outputs([], json_answer("[1, Infinity]")), None) == ResponseCheck()


def test_one_long_text_costs_no_memory_for_the_short_ones() -> None:
    texts = ["x" * 20_000] + ["a"] * 20_000
    body = json_answer(json.dumps(texts), datatype="BYTES", shape=f"[{len(texts)}]")
    tracemalloc.start()
    try:
        read_outputs([], body)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10 * 2**20
