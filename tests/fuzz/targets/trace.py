"""A trace of arrivals, read for a run and for a plan; the first byte chooses the file name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from app.profiles.loading import load_traffic
from app.profiles.problems import BadValueError
from app.profiles.traces import read_trace
from tests.fuzz.scratch import input_file


def read(data: bytes) -> None:
    with input_file(data, "trace.csv", "trace.jsonl", "trace.csv.gz") as path:
        with contextlib.suppress(BadValueError):  # which pydantic turns into the profile's error, with its line
            read_trace(path)
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
    yield b"\0arrival_s\n0.5\n0.75\n1.5\n"
