"""A dataset of prompts, read by a load worker: lines or an array of JSON, or CSV; the first byte chooses the format and
whether conversations are sessions."""

from __future__ import annotations

from collections.abc import Iterable

from app.errors import UsageError
from loadgen.payloads.datasets import DatasetError, DatasetReader
from loadgen.payloads.prompts import PromptError, build_sessions_from_dataset
from loadgen.workloads import Dataset, DatasetPrompts
from tests.fuzz.scratch import input_file

_FORMATS = {"a.jsonl": "jsonl", "a.json": "json", "a.csv": "csv", "sessions.json": "json"}


def read(data: bytes) -> None:
    with input_file(data, *_FORMATS) as path:
        dataset = Dataset(str(path), _FORMATS[path.name])  # type: ignore[arg-type]
        prompts = DatasetPrompts(dataset, "conversations", sessions=path.name == "sessions.json")
        try:
            for session in build_sessions_from_dataset(prompts, DatasetReader(dataset, 1 << 20)):
                assert session.prompts
        except (DatasetError, PromptError) as error:
            raise UsageError(str(error)) from error


def seeds() -> Iterable[bytes]:
    conversation = b'{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b \\"]"}]}'
    yield b"\0" + conversation + b"\n"
    yield b"\1[" + conversation + b", " + conversation + b"]"
    yield b"\2conversations,n\na,1\n"
    yield b'\3[{"conversations": [{"role": "user", "content": "a"}]}, ' + conversation + b"]"
