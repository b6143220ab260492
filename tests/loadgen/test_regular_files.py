"""Untrusted files are read only if they are regular files, and only up to a size limit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen.regular_files import check_regular, hash_regular, open_regular, read_regular

READERS: list[Callable[[Path], object]] = [
    open_regular,
    hash_regular,
    lambda path: read_regular(path, 1024),
    lambda path: check_regular(path, 1024),
]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe without a writer: opening it for reading would block."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("read", READERS)
def test_device_pipe_and_folder_are_rejected(read: Callable[[Path], object], pipe: Path) -> None:
    link = pipe.with_name("link")
    link.symlink_to("/dev/zero")
    for path in (Path("/dev/zero"), pipe, link):
        with pytest.raises(OSError, match="not a regular file"):
            read(path)
    with pytest.raises(IsADirectoryError):
        read(pipe.parent)


def test_regular_file_is_read_up_to_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2048)
    assert read_regular(path, 2048) == b"x" * 2048
    check_regular(path, 2048)
    with pytest.raises(OSError, match="larger than 1 KiB"):
        read_regular(path, 1024)
    with pytest.raises(OSError, match="larger than 1 KiB"):
        check_regular(path, 1024)


def test_file_hash_covers_no_more_than_initial_file_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    assert hash_regular(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert hash_regular(Path("/proc/self/pagemap")) == hashlib.sha256(b"").hexdigest()
