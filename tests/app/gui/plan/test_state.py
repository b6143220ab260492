from __future__ import annotations

import shlex
from pathlib import Path

from app.gui.plan.state import NO_EDITS, Change, apply_to_request, build_command
from app.wiring.planning import PlanRequest

REQUEST = PlanRequest(("a run",), ("traffic.peak=5/s", "target.hardware.vcpus=4"), slo=("latency_ms.p95 < 50",))


def test_plan_edits_replace_overrides_and_slo_of_the_request() -> None:
    edits = NO_EDITS.with_change(Change("", (("traffic.peak", "9/s"), ("price.acme/c2@here", "0.5"))))
    edits = edits.with_change(Change("", slo=("latency_ms.p99 < 80",), price_lists=(Path("mine.csv"),)))
    assert shlex.split(build_command(apply_to_request(REQUEST, edits))) == [
        "sizewise", "plan", "a run", "--slo", "latency_ms.p99 < 80", "--offers", "mine.csv",
        "--set", "target.hardware.vcpus=4", "--set", "traffic.peak=9/s", "--set", "price.acme/c2@here=0.5",
    ]  # fmt: skip


def test_reverted_plan_edits_equal_no_edits() -> None:
    edits = NO_EDITS.with_change(Change("", (("plan.zones", "2"),), slo=("error_rate < 1%",)))
    assert edits.with_change(Change("", (("plan.zones", None),), slo=())) == NO_EDITS
    assert build_command(apply_to_request(REQUEST, NO_EDITS)) == build_command(REQUEST)


def test_edited_offer_prices_are_keyed_by_offer() -> None:
    edits = NO_EDITS.with_change(Change("", (("price.acme/c2@here", "0.5"), ("plan.zones", "2"))))
    assert edits.edited_prices == {"acme/c2@here": "0.5"}
    assert (edits.is_set("plan.zones"), edits.is_set("slo"), edits.value("plan.router")) == (True, False, None)
