from __future__ import annotations

import tracemalloc

import msgspec
import numpy as np
import pytest

from app.serving.messages import (
    DATATYPES,
    BadTensorError,
    decode_binary_array,
    decode_json_array,
    encode_binary_values,
    encode_json_values,
)

NUMERIC = [dtype for dtype in DATATYPES if dtype != "object"]


@pytest.mark.parametrize("dtype", NUMERIC)
def test_numbers_are_encoded_and_decoded_unchanged(dtype: str) -> None:
    array = np.array([[0, 1], [1, 0], [1, 1]], dtype)
    through_json = decode_json_array(msgspec.Raw(msgspec.json.encode(encode_json_values(array))), dtype, [3, 2])
    through_bytes = decode_binary_array(memoryview(encode_binary_values(array)), dtype, [3, 2])
    for decoded in (through_json, through_bytes):
        assert decoded.dtype == array.dtype
        assert decoded.tolist() == array.tolist()


def test_strings_are_encoded_and_decoded_unchanged() -> None:
    array = np.array([["a", ""], ["äöü", "x" * 300]], dtype=object)
    assert decode_json_array(
        msgspec.Raw(msgspec.json.encode(encode_json_values(array))), "object", [2, 2]
    ).tolist() == (array.tolist())
    assert decode_binary_array(memoryview(encode_binary_values(array)), "object", [2, 2]).tolist() == array.tolist()


def test_nested_json_data_is_row_major() -> None:
    assert decode_json_array(msgspec.Raw(b"[[1,2],[3,4]]"), "int64", [2, 2]).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (b"[1, 2, 3]", "float32"),
        (b"[[1, 2], [3]]", "float32"),
        (b'["1", "2"]', "float32"),
        (b"[true, false]", "float32"),
        (b"[null, 1]", "float32"),
        (b'{"a": 1}', "float32"),
        (b"[1e39, 0]", "float32"),
        (b"[70000, 0]", "float16"),
        (b"[1.5, 2]", "int64"),
        (b"[256, 0]", "uint8"),
        (b"[-1, 0]", "uint64"),
        (b"[1, 100000000000000000000000]", "int64"),
        (b"[0, 1]", "bool"),
        (b"[1, 2]", "object"),
        (b"[" * 100_000, "float32"),
        (b"[" * 80 + b"]" * 80, "float32"),
        (b"[{}, {}]", "float32"),
    ],
)
def test_json_data_that_does_not_match_the_tensor_is_rejected(data: bytes, dtype: str) -> None:
    with pytest.raises(BadTensorError):
        decode_json_array(msgspec.Raw(data), dtype, [2])


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (b"\0" * 7, "float32"),
        (b"\0" * 9, "float32"),
        (b"\1\0\0", "object"),
        (b"\xff\xff\xff\xff", "object"),
        (b"\1\0\0\0a", "object"),
        (b"\1\0\0\0\xff\0\0\0\0", "object"),
    ],
)
def test_binary_data_that_does_not_match_the_tensor_is_rejected(data: bytes, dtype: str) -> None:
    with pytest.raises(BadTensorError):
        decode_binary_array(memoryview(data), dtype, [2])


def test_huge_shape_with_little_data_is_rejected() -> None:
    with pytest.raises(BadTensorError, match="the data has 4 bytes"):
        decode_binary_array(memoryview(b"\0" * 4), "float32", [2**62, 2**62])


@pytest.mark.parametrize("dtype", ["float32", "object"])
@pytest.mark.parametrize("shape", [[0, 10**30], [0, *[1] * 70]])
def test_shape_beyond_array_limits_is_rejected(dtype: str, shape: list[int]) -> None:
    with pytest.raises(BadTensorError, match="shape"):
        decode_binary_array(memoryview(b""), dtype, shape)
    with pytest.raises(BadTensorError, match="shape"):
        decode_json_array(msgspec.Raw(b"[]"), dtype, shape)


def test_long_string_among_short_ones_does_not_multiply_memory() -> None:
    data = msgspec.json.encode(["x" * 20_000] + ["1"] * 20_000)
    tracemalloc.start()
    try:
        with pytest.raises(BadTensorError):
            decode_json_array(msgspec.Raw(data), "float32", [20_001])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10 * 2**20
