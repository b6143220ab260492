import sys

import pytest

from loadgen.worker.target import MemoryLimit, read_private_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_memory_that_has_grown_exceeds_a_bound_until_it_is_freed() -> None:
    bound = MemoryLimit(32 * 2**20)
    assert not bound.is_exceeded
    grown = bytearray(b"x") * (64 * 2**20)
    assert bound.is_exceeded
    del grown
    assert not bound.is_exceeded


def test_without_a_report_of_the_system_nothing_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (read_private_bytes() or 0) > 2**20
    monkeypatch.setattr("loadgen.worker.target.read_private_bytes", lambda: None)
    assert not MemoryLimit(-1).is_exceeded
