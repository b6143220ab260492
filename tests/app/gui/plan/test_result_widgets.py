from __future__ import annotations

from msgspec.structs import replace

from app.gui.plan.result_widgets import list_rejection_reasons
from app.planning.candidates import build_rejected_fleet
from tests.fakes.offers import TODAY, offer
from tests.fakes.whole_plan import whole_plan


def test_refusals_are_counted_by_their_ids() -> None:
    offers = (
        build_rejected_fleet(offer("a"), "one", TODAY, "capacity", "not_measured"),
        build_rejected_fleet(offer("b"), "two", TODAY, "capacity", "memory"),
        build_rejected_fleet(offer("c"), "three", TODAY, "capacity", "memory"),
        build_rejected_fleet(offer("d"), "three", TODAY, "budget"),
    )
    assert list_rejection_reasons(replace(whole_plan(), offers=offers)) == (
        "2 offers: two",
        "1 offer: one",
        "1 offer: three",
    )
