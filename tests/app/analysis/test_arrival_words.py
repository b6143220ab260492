from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from app.analysis.arrival_words import arrivals_in_words
from tests.fakes.queues import stage_facts


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Poisson at 200/s"),
        ({"arrival_kind": "constant"}, "constant at 200/s"),
        ({"arrival_kind": "gamma", "cv": 2.5}, "gamma (cv 2.5) at 200/s"),
        ({"sessions": True}, "Poisson at 200 sessions/s"),
        ({"rate_per_s": None, "rates": ((0, 10), (30, 200))}, "Poisson along a ramp 10 → 200/s"),
        (
            {"rate_per_s": None, "rates": ((0, 10), (5, 10), (5, 20), (9, 20), (9, 40))},
            "Poisson in steps 10 → 20 → 40/s",
        ),
        (
            {"rate_per_s": None, "kind": "spike", "rates": ((0, 50), (5, 50), (5, 500), (9, 500), (9, 50))},
            "Poisson spike 50 → 500 → 50/s",
        ),
        (
            {"rate_per_s": None, "rates": tuple((at, 50 + 10 * (at % 5)) for at in range(20))},
            "Poisson varying 50 to 90/s",
        ),
        ({"rate_per_s": None}, "Poisson at a varying rate"),
        ({"arrival_kind": "trace", "rate_per_s": None}, "a recorded trace"),
        ({"arrival_kind": "closed", "concurrency": 64}, "closed loop, 64 clients"),
        (
            {"arrival_kind": "closed", "concurrency": 1_000, "think_s": 0.5},
            "closed loop, 1,000 clients, thinking 0.5 s",
        ),
        ({"arrival_kind": "locust", "concurrency": 10}, "closed loop, 10 users of the Locust test"),
    ],
)
def test_how_requests_came_in_words(changes: dict[str, Any], words: str) -> None:
    assert arrivals_in_words(replace(stage_facts(200), **changes)) == words
