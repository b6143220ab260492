from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest

from loadgen.decoding import BatchHeader, decode_json, json_decoder, read_batch_header


class Named(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    "content", [b'{"name": "\xff"}', '{"name": "\ud800"}', b"[" * 100_000, b"", b'{"name": 1}', b"1" * 5_000]
)
@pytest.mark.parametrize("kind", [Named, object])
def test_invalid_json_is_decode_error(content: bytes | str, kind: type) -> None:
    if content == b'{"name": 1}' and kind is object:
        return
    with pytest.raises(msgspec.DecodeError):
        decode_json(content, kind)
    with pytest.raises(msgspec.DecodeError):
        json_decoder(kind)(content)


def test_valid_json_is_decoded() -> None:
    assert decode_json(b'{"name": "one"}', Named) == json_decoder(Named)('{"name": "one"}') == Named("one")
    assert decode_json(b"[1, 2]") == [1, 2]


def test_batch_header_has_row_count_and_body_size() -> None:
    message = pa.record_batch([pa.array(range(100), pa.int64())], names=["n"]).serialize().to_pybytes()
    header = read_batch_header(message)
    assert header.row_count == 100
    assert header.body_bytes >= 800
    assert read_batch_header(message[: len(message) - header.body_bytes]) == BatchHeader(100, header.body_bytes)


def test_corrupted_batch_header_is_read_or_raises_value_error() -> None:
    message = pa.record_batch([pa.array(range(10), pa.int64())], names=["n"]).serialize().to_pybytes()
    size = len(message) - read_batch_header(message).body_bytes
    rejected_count = 0
    for position in range(size):
        for changed in (
            message[:position],
            message[:position] + bytes([message[position] ^ 0x80]) + message[position + 1 : size],
        ):
            try:
                read_batch_header(changed)
            except ValueError:
                rejected_count += 1
    assert rejected_count > size // 2
