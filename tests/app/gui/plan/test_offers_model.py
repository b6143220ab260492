from __future__ import annotations

from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtTest import QAbstractItemModelTester

from app.gui.plan.offers_model import COLUMNS, PRICE_COLUMN, REPLICA_COLUMNS, OffersModel, build_frame
from app.records.plan import ServedReplica
from tests.fakes.whole_plan import A10G, L4, T4, plan_without_feasible_offer, whole_plan

PRICE = COLUMNS.index(PRICE_COLUMN)


def model() -> OffersModel:
    offers_model = OffersModel()
    offers_model.set_frame(build_frame(whole_plan()))
    return offers_model


def test_offers_model_passes_the_item_model_tester() -> None:
    offers_model = OffersModel()
    tester = QAbstractItemModelTester(offers_model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    offers_model.set_frame(build_frame(whole_plan()))
    offers_model.set_edited_prices({L4: "0.5"}, {L4: 0.706})
    offers_model.sort(PRICE, Qt.SortOrder.DescendingOrder)
    offers_model.setData(offers_model.index(0, PRICE), "0.4")
    offers_model.set_frame(build_frame(plan_without_feasible_offer()))
    assert tester.model() is offers_model


def test_offer_price_is_the_only_editable_column_and_requests_the_typed_price() -> None:
    offers_model, price_requests = model(), []
    offers_model.price_requested.connect(lambda offer, usd: price_requests.append((offer, usd)))
    editable = [
        column
        for column in range(len(COLUMNS))
        if offers_model.flags(offers_model.index(0, column)) & Qt.ItemFlag.ItemIsEditable
    ]
    assert editable == [PRICE]
    assert offers_model.data(offers_model.index(0, PRICE), Qt.ItemDataRole.EditRole) == "0.706"
    assert offers_model.setData(offers_model.index(0, PRICE), "0.55")
    assert offers_model.setData(offers_model.index(1, PRICE), "1.2 USD/h")
    assert price_requests == [(L4, "0.55"), (A10G, "1.2")]
    assert offers_model.data(offers_model.index(0, PRICE)) == "0.706"


def test_invalid_offer_price_is_rejected() -> None:
    offers_model = model()
    for text in ("cheap", "-1", "", "nan"):
        assert not offers_model.setData(offers_model.index(0, PRICE), text), text
    assert not offers_model.setData(offers_model.index(0, 0), "1")


def test_edited_offer_price_is_marked_with_the_original_price() -> None:
    offers_model = model()
    offers_model.set_edited_prices({L4: "0.706"}, {L4: 0.9})
    index = offers_model.index(0, PRICE)
    assert offers_model.data(index) == "✎ 0.706"
    font = offers_model.data(index, Qt.ItemDataRole.FontRole)
    assert isinstance(font, QFont)
    assert font.bold()
    assert offers_model.data(index, Qt.ItemDataRole.ToolTipRole) == "Custom price (original: $0.9/h)"
    assert offers_model.data(offers_model.index(1, PRICE), Qt.ItemDataRole.FontRole) is None


def test_excluded_offer_has_its_reason_and_no_numbers() -> None:
    offers_model = model()
    row = offers_model.find_row(T4)
    assert row is not None
    cells = {name: offers_model.data(offers_model.index(row, column)) for column, name in enumerate(COLUMNS)}
    assert str(cells["why"]).startswith("excluded: its memory of 16 GiB")
    assert (cells["instances"], cells["month"], cells["sizing_method"]) == ("n/a", "n/a", "n/a")


def test_check_box_pins_an_offer_and_the_tooltip_names_its_comparison_column() -> None:
    offers_model, pinned = model(), list[str]()
    offers_model.pin_toggled.connect(pinned.append)
    index, check_role = offers_model.index(0, 0), Qt.ItemDataRole.CheckStateRole
    assert offers_model.data(index, check_role) == Qt.CheckState.Unchecked
    assert offers_model.setData(index, 2, check_role)
    assert pinned == [L4]
    offers_model.set_pinned_offers((A10G, L4))
    assert offers_model.data(index, check_role) == Qt.CheckState.Checked
    assert offers_model.data(index, Qt.ItemDataRole.ToolTipRole) == "B in the comparison"


def test_rank_reason_is_in_the_second_column_of_the_offers() -> None:
    offers_model = model()
    assert COLUMNS[:2] == ("offer", "why")
    assert offers_model.data(offers_model.index(0, 1)) == "recommended"
    assert str(offers_model.data(offers_model.index(1, 1))).endswith(
        "$1,095/month more (42 %): $1.006/h instead of $0.706/h each"
    )


def test_latency_that_is_only_a_limit_is_marked() -> None:
    offers_model, latency = model(), COLUMNS.index("latency")
    offers_model.set_limited_offers(frozenset({L4}))
    limited, other = (str(offers_model.data(offers_model.index(row, latency))) for row in (0, 1))
    assert offers_model.offer(0) == L4
    assert (limited.startswith("≤ "), other.startswith("≤")) == (True, False)


def test_replica_of_a_model_without_measurements_has_its_throughput() -> None:
    plan = whole_plan()
    replica = ServedReplica(
        accelerators=2, engine="sglang", weights="fp8", tokens_per_s_per_user=33.5, tokens_per_s_per_accelerator=150.0
    )
    offers = tuple(replace(fleet, served_replica=replica if fleet.offer == L4 else None) for fleet in plan.offers)
    frame = build_frame(replace(plan, offers=offers)).set_index("offer")
    assert [frame.at[L4, name] for name in REPLICA_COLUMNS] == ["2 accelerators, SGLang, fp8", 33.5, 150.0]
    assert frame[list(REPLICA_COLUMNS)].notna().sum().tolist() == [1, 1, 1]
