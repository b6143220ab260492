"""Another tool's result; the first byte chooses the file name."""

from __future__ import annotations

from collections.abc import Iterable

from app.storage.foreign.reading import read_foreign
from tests.fuzz.scratch import ROOT, input_file

_ENDINGS = (".json", ".jsonl", ".csv", ".yaml")
_LARGEST = 64 << 10
_FILES = ROOT / "tests" / "app" / "storage" / "foreign" / "files"


def read(data: bytes) -> None:
    with input_file(data, *(f"results{ending}" for ending in _ENDINGS)) as path:
        read_foreign([path])


def seeds() -> Iterable[bytes]:
    for path in sorted(_FILES.rglob("*")):
        if path.suffix in _ENDINGS and path.stat().st_size < _LARGEST:
            yield bytes([_ENDINGS.index(path.suffix)]) + path.read_bytes()
