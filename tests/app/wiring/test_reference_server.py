from __future__ import annotations

import urllib.request

import pytest

from app.errors import InstrumentError
from app.wiring.reference_server import ReferenceServer

pytestmark = pytest.mark.process


def test_it_answers_until_it_is_closed() -> None:
    server = ReferenceServer("loadgen.reference.null", path="/any")
    with urllib.request.urlopen(server.url, timeout=10) as answer:
        assert answer.read() == b"{}"
    server.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(server.url, timeout=10)


def test_one_that_does_not_come_up_is_the_instruments_fault(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InstrumentError, match="did not start"):
        ReferenceServer("loadgen.reference.nothing")
    assert "No module named" in capfd.readouterr().err
