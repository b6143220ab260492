from __future__ import annotations

import urllib.request

import pytest

from app.records.calibration import LoadKind
from app.wiring.reference_server import NullServerProcess

pytestmark = pytest.mark.timing


@pytest.mark.parametrize(("kind", "media"), [("plain", "application/json"), ("streaming", "text/event-stream")])
def test_null_server_of_each_load_kind_responds_and_reports_its_cpu_time(kind: LoadKind, media: str) -> None:
    server = NullServerProcess(kind)
    before_s = server.cpu_s()
    with urllib.request.urlopen(server.url, timeout=10) as response:
        assert response.headers["Content-Type"] == media
        response.read()
    after_s = server.cpu_s()
    assert before_s is not None
    assert after_s is not None
    assert 0 < before_s <= after_s
    server.close()
    assert server.cpu_s() is None
