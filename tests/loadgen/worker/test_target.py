import sys

import pytest

from loadgen.worker.target import MemoryLimit, read_private_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_memory_limit_is_exceeded_until_memory_is_freed() -> None:
    limit = MemoryLimit(32 * 2**20)
    assert not limit.is_exceeded
    allocated = bytearray(b"x") * (64 * 2**20)
    assert limit.is_exceeded
    del allocated
    assert not limit.is_exceeded


def test_memory_limit_is_not_exceeded_without_report_of_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (read_private_bytes() or 0) > 2**20
    monkeypatch.setattr("loadgen.worker.target.read_private_bytes", lambda: None)
    assert not MemoryLimit(-1).is_exceeded
