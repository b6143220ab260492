from __future__ import annotations

from pathlib import Path

import pytest

from app.session.interruption import Interruption
from app.session.limits import LimitWatch
from app.session.selftest.bench import Bench
from app.session.selftest.stall import check_stall, expected_s
from app.session.spec import LimitSpec
from tests.fakes.selftest import true_parts


def test_what_is_expected_is_what_a_queue_gives_played_request_by_request(tmp_path: Path) -> None:
    parts = true_parts(tmp_path)
    with parts.open_store() as store:  # type: ignore[attr-defined]
        bench = Bench(parts, parts.start_load(), store, LimitWatch(LimitSpec(), 0), Interruption())
        p95, p99, from_send = check_stall(bench)
    assert p95.seen == pytest.approx(1e3 * expected_s(0.95), rel=0.005)
    assert p99.seen == pytest.approx(1e3 * expected_s(0.99), rel=0.005)
    assert from_send.seen == 50.0
