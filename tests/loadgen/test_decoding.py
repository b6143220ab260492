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
def test_whatever_is_wrong_is_a_decode_error(content: bytes | str, kind: type) -> None:
    if content == b'{"name": 1}' and kind is object:
        return
    with pytest.raises(msgspec.DecodeError):
        decode_json(content, kind)
    with pytest.raises(msgspec.DecodeError):
        json_decoder(kind)(content)


def test_what_is_right_is_decoded() -> None:
    assert decode_json(b'{"name": "one"}', Named) == json_decoder(Named)('{"name": "one"}') == Named("one")
    assert decode_json(b"[1, 2]") == [1, 2]


def test_the_header_of_a_batch_reports_its_rows_and_its_size() -> None:
    message = pa.record_batch([pa.array(range(100), pa.int64())], names=["n"]).serialize().to_pybytes()
    header = read_batch_header(message)
    assert header.row_count == 100
    assert header.body_bytes >= 800
    assert read_batch_header(message[: len(message) - header.body_bytes]) == BatchHeader(100, header.body_bytes)


def test_a_header_cut_or_changed_anywhere_is_read_or_refused_with_a_value_error() -> None:
    message = pa.record_batch([pa.array(range(10), pa.int64())], names=["n"]).serialize().to_pybytes()
    size = len(message) - read_batch_header(message).body_bytes
    refused = 0
    for place in range(size):
        for changed in (message[:place], message[:place] + bytes([message[place] ^ 0x80]) + message[place + 1 : size]):
            try:
                read_batch_header(changed)
            except ValueError:
                refused += 1
    assert refused > size // 2
