from __future__ import annotations

import shlex
from pathlib import Path

from app.gui.plan.state import NOTHING, Change, command_of, request_with
from app.wiring.planning import PlanRequest

REQUEST = PlanRequest(("a run",), ("traffic.peak=5/s", "target.hardware.vcpus=4"), slo=("latency_ms.p95 < 50",))


def test_what_is_edited_stands_for_what_it_was_begun_with() -> None:
    edits = NOTHING.after(Change("", (("traffic.peak", "9/s"), ("price.acme/c2@here", "0.5"))))
    edits = edits.after(Change("", slo=("latency_ms.p99 < 80",), prices=(Path("mine.csv"),)))
    assert shlex.split(command_of(request_with(REQUEST, edits))) == [
        "sizewise", "plan", "a run", "--slo", "latency_ms.p99 < 80", "--offers", "mine.csv",
        "--set", "target.hardware.vcpus=4", "--set", "traffic.peak=9/s", "--set", "price.acme/c2@here=0.5",
    ]  # fmt: skip


def test_what_is_taken_back_is_as_it_was() -> None:
    edits = NOTHING.after(Change("", (("plan.zones", "2"),), slo=("error_rate < 1%",)))
    assert edits.after(Change("", (("plan.zones", None),), slo=())) == NOTHING
    assert command_of(request_with(REQUEST, NOTHING)) == command_of(REQUEST)


def test_prices_are_told_by_offer() -> None:
    edits = NOTHING.after(Change("", (("price.acme/c2@here", "0.5"), ("plan.zones", "2"))))
    assert edits.priced == {"acme/c2@here": "0.5"}
    assert (edits.has("plan.zones"), edits.has("slo"), edits.value("plan.router")) == (True, False, None)
