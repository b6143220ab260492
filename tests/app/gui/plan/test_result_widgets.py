from __future__ import annotations

from msgspec.structs import replace

from app.gui.plan.result_widgets import build_capacity_rows, get_sized_peak_per_s, list_rejection_reasons
from app.planning.offers.candidates import build_rejected_fleet
from tests.fakes.offers import TODAY, offer
from tests.fakes.whole_plan import whole_plan


def test_offer_rejections_are_counted_by_their_ids() -> None:
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


def test_plan_capacity_rows_exclude_spare_instances() -> None:
    plan = whole_plan()
    assert plan.recommendation is not None
    fleet = replace(plan.recommendation.fleet, planned_rate_per_replica_per_s=20.0)
    rows = build_capacity_rows(fleet)
    assert [(row.name, row.instances, row.sustained_per_s) for row in rows] == [
        ("N−1", 3, 60.0), ("N", 4, 80.0), ("N+1", 5, 100.0),
    ]  # fmt: skip
    assert [row.max_rate_ci95 for row in rows] == [(63.0, 81.0), (84.0, 108.0), (105.0, 135.0)]
    assert [row.probability for row in rows] == [0.412, 0.953, 0.9998]
    assert get_sized_peak_per_s(fleet) == 0.9375 * 5 * 24.0
    rows_without_probabilities = build_capacity_rows(replace(fleet, instances=2, slo_probabilities=None))
    assert [(row.name, row.probability) for row in rows_without_probabilities] == [("N", None), ("N+1", None)]
    assert build_capacity_rows(plan.cheapest_rejected) == ()
