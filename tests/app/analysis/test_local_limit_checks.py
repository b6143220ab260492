from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.local_limit_checks import ConnectionDemand, MachineLimits, demand_checks, local_limit_check
from app.analysis.rows import read_rows
from app.records.result import ErrorSample
from tests.fakes.queues import constant_s, request_rows, stage_facts

DEMAND = ConnectionDemand(rate_per_s=150, service_s=1.0, max_connections=2048)
"""150/s of a second each: 150 requests in flight, and some more at times."""


@pytest.mark.parametrize(
    ("demand", "limits", "found"),
    [
        (DEMAND, MachineLimits(), []),
        (DEMAND, MachineLimits(1024, 28_232), []),
        (DEMAND, MachineLimits(100, 28_232), [("file_descriptors", 252, 100)]),
        (replace(DEMAND, workers=4), MachineLimits(120, None), []),
        (replace(DEMAND, service_s=None), MachineLimits(100, 100), []),
        (replace(DEMAND, rate_per_s=10_000), MachineLimits(4096, None), []),  # no more than max_connections
        (
            ConnectionDemand(concurrency=10_000, max_connections=2048),
            MachineLimits(65_536),
            [("connections", 10_000, 2048)],
        ),
        (ConnectionDemand(concurrency=10_000, max_connections=10_000), MachineLimits(65_536, 28_232), []),
        (replace(DEMAND, keeps_connections=False, rate_per_s=600), MachineLimits(), []),
        (
            replace(DEMAND, keeps_connections=False, rate_per_s=600),
            MachineLimits(None, 28_232),
            [("local_ports", 36_750, 28_232)],
        ),
        (replace(DEMAND, keeps_connections=False, rate_per_s=600, addresses=2), MachineLimits(None, 28_232), []),
    ],
)
def test_what_a_load_needs_beyond_the_limits_is_a_warning(
    demand: ConnectionDemand, limits: MachineLimits, found: list[tuple[str, float, float]]
) -> None:
    checks = demand_checks(demand, limits)
    assert [(one.id, one.value, one.limit) for one in checks] == found
    assert all(one.verdict == "WARN" and f"{one.value:,.0f}" in str(one.hint) for one in checks)


def test_a_request_that_failed_by_a_local_limit_makes_the_stage_invalid() -> None:
    errors: list[str | None] = [None] * 200
    read = read_rows(request_rows(constant_s(20, 10), np.full(200, 0.02), 0.0, errors))
    assert local_limit_check(read, stage_facts(20, 10)) == ()
    errors[7] = "local-limit"
    read = read_rows(request_rows(constant_s(20, 10), np.full(200, 0.02), 0.0, errors))
    facts = replace(stage_facts(20, 10), error_samples=(ErrorSample("local-limit", 1, "Too many open files"),))
    (check,) = local_limit_check(read, facts)
    assert (check.verdict, check.value) == ("INVALID", 1 / 200)
    assert "not by the target (Too many open files)" in str(check.hint)
