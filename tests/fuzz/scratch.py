"""What several fuzz targets share: scratch files, and a run directory damaged as the input says."""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.storage.labels import set_title
from tests.fakes.golden_runs import golden_run
from tests.fakes.journaled_runs import journaled_run

ROOT = Path(__file__).parents[2]
EDITS = (b"", b"\3\2\x80\0\7", b"\6\0\xff\0\0", b"\5\3\x10\0\3\4\1\x20\0\x7f")
"""Inputs of `edited_run` from which the fuzzer starts."""

_EDIT = struct.Struct(">BBHB")
"""File, operation, place as a share of the file's length in 1/65536, new byte."""
RUNS = ("killed", "local", "journaled")
_DERIVED = ("report*", "junit.xml", "metrics.prom", "summary.md", "checksums.txt")


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def input_file(data: bytes, *names: str) -> Iterator[Path]:
    """Write `data` without its first byte to a file; that byte chooses one of `names`."""
    with scratch_folder() as folder:
        path = folder / names[data[0] % len(names) if data else 0]
        path.write_bytes(data[1:])
        yield path


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut `data` at each 0xFF byte, which no text protocol uses."""
    return (piece for piece in data.split(b"\xff") if piece)


def edited_run(name: str, data: bytes, folder: Path) -> Path:
    """Copy a golden run into `folder`, edited as `data` says: bytes overwritten, cut off, repeated or flipped."""
    run = folder / name
    shutil.copytree(_unpacked_run(name), run)
    files = sorted(path for path in run.rglob("*") if path.is_file())
    for at in range(0, len(data) - _EDIT.size + 1, _EDIT.size):
        file, operation, share, byte = _EDIT.unpack_from(data, at)
        path = files[file % len(files)]
        content = bytearray(path.read_bytes())
        place = len(content) * share >> 16
        if operation % 4 == 0:
            del content[place:]
        elif operation % 4 == 1:
            content[place:place] = bytes([byte]) * (1 + operation)
        elif place < len(content):
            content[place] = byte if operation % 4 == 2 else content[place] ^ 1 << byte % 8
        path.write_bytes(content)
    return run


@functools.cache
def _unpacked_run(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run = journaled_run(folder) if name == "journaled" else golden_run(name, folder)
    for pattern in _DERIVED:
        for path in run.glob(pattern):
            path.unlink()
    set_title(run, "a title")
    return run
