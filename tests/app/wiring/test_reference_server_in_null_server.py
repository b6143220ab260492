from __future__ import annotations

import urllib.request

import pytest

from app.records.calibration import LoadKind
from app.wiring.reference_server import NullServerProcess

pytestmark = pytest.mark.timing


@pytest.mark.parametrize(("kind", "media"), [("plain", "application/json"), ("streaming", "text/event-stream")])
def test_each_kind_of_load_has_its_server_and_that_its_cpu(kind: LoadKind, media: str) -> None:
    server = NullServerProcess(kind)
    before_s = server.cpu_s()
    with urllib.request.urlopen(server.url, timeout=10) as answer:
        assert answer.headers["Content-Type"] == media
        answer.read()
    after_s = server.cpu_s()
    assert before_s is not None
    assert after_s is not None
    assert 0 < before_s <= after_s
    server.close()
    assert server.cpu_s() is None
