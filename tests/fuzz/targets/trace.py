"""A trace of arrivals, read for a run and for a plan; the first byte chooses the file name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from app.profiles.loading import load_traffic
from app.profiles.problems import BadValueError
from app.profiles.traces import check_token_columns, read_trace
from tests.fuzz.scratch import input_file


def read(data: bytes) -> None:
    with input_file(data, "trace.csv", "trace.jsonl", "trace.csv.gz") as path:
        with contextlib.suppress(BadValueError):  # which pydantic turns into the profile's error, with its line
            trace = read_trace(path)
            if trace.blocks is not None and trace.input_tokens is not None:
                check_token_columns(path)
        load_traffic(path)


def seeds() -> Iterable[bytes]:
    yield (
        b"\0TIMESTAMP,ContextTokens,GeneratedTokens\n"
        b"2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    )
    yield (
        b'\1{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n'
        b'{"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [0, 2]}\n'
    )
    yield (
        b'\1{"timestamp": 5, "input_length": 600, "output_length": 1, "hash_ids": [9007199254740991, 7]}\n'
        b'{"timestamp": 6, "input_length": 0, "output_length": 1, "hash_ids": []}\n'
    )
    attributes = (
        b'[{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}}, '
        b'{"key": "gen_ai.usage.output_tokens", "value": {"intValue": 3}}]'
    )
    span = b'{"startTimeUnixNano": "1700000000%s000000000", "attributes": ' + attributes + b"}"
    spans = span % b"2" + b", " + span % b"1"
    yield b'\1{"resourceSpans": [{"scopeSpans": [{"spans": [' + spans + b"]}]}]}\n"
    flat_attributes = b'{"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 3}'
    yield (
        b'\1{"start_time": "2024-01-01T00:00:00.5Z", "attributes": ' + flat_attributes + b"}\n"
        b'{"start_time": "2024-01-01T00:00:00Z", "attributes": ' + flat_attributes + b"}\n"
    )
    yield b"\0arrival_s\n0.5\n0.75\n1.5\n"
