from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtTest import QAbstractItemModelTester

from app.gui.plan.offers_model import COLUMNS, PRICE_COLUMN, OffersModel, build_frame
from tests.fakes.whole_plan import A10G, L4, T4, nothing_fits, whole_plan

PRICE = COLUMNS.index(PRICE_COLUMN)


def model() -> OffersModel:
    made = OffersModel()
    made.set_frame(build_frame(whole_plan()))
    return made


def test_it_holds_what_qt_asks_of_a_model() -> None:
    made = OffersModel()
    tester = QAbstractItemModelTester(made, QAbstractItemModelTester.FailureReportingMode.Fatal)
    made.set_frame(build_frame(whole_plan()))
    made.set_edited_prices({L4: "0.5"}, {L4: 0.706})
    made.sort(PRICE, Qt.SortOrder.DescendingOrder)
    made.setData(made.index(0, PRICE), "0.4")
    made.set_frame(build_frame(nothing_fits()))
    assert tester.model() is made


def test_the_price_alone_can_be_edited_and_is_asked_for() -> None:
    made, reported = model(), []
    made.price_requested.connect(lambda offer, usd: reported.append((offer, usd)))
    editable = [
        column for column in range(len(COLUMNS)) if made.flags(made.index(0, column)) & Qt.ItemFlag.ItemIsEditable
    ]
    assert editable == [PRICE]
    assert made.data(made.index(0, PRICE), Qt.ItemDataRole.EditRole) == "0.706"
    assert made.setData(made.index(0, PRICE), "0.55")
    assert made.setData(made.index(1, PRICE), "1.2 USD/h")
    assert reported == [(L4, "0.55"), (A10G, "1.2")]
    assert made.data(made.index(0, PRICE)) == "0.706"


def test_what_is_no_price_is_refused() -> None:
    made = model()
    for text in ("cheap", "-1", "", "nan"):
        assert not made.setData(made.index(0, PRICE), text), text
    assert not made.setData(made.index(0, 0), "1")


def test_an_edited_price_is_marked_with_what_it_was() -> None:
    made = model()
    made.set_edited_prices({L4: "0.706"}, {L4: 0.9})
    index = made.index(0, PRICE)
    assert made.data(index) == "✎ 0.706"
    font = made.data(index, Qt.ItemDataRole.FontRole)
    assert isinstance(font, QFont)
    assert font.bold()
    assert made.data(index, Qt.ItemDataRole.ToolTipRole) == "Custom price (original: $0.9/h)"
    assert made.data(made.index(1, PRICE), Qt.ItemDataRole.FontRole) is None


def test_a_refused_offer_says_why_and_has_no_numbers() -> None:
    made = model()
    row = made.find_row(T4)
    assert row is not None
    shown = {name: made.data(made.index(row, column)) for column, name in enumerate(COLUMNS)}
    assert str(shown["why"]).startswith("excluded: its memory of 16 GiB")
    assert (shown["instances"], shown["month"], shown["sizing_method"]) == ("n/a", "n/a", "n/a")


def test_a_tick_pins_an_offer_and_says_which_it_is() -> None:
    made, reported = model(), list[str]()
    made.pin_toggled.connect(reported.append)
    first, check = made.index(0, 0), Qt.ItemDataRole.CheckStateRole
    assert made.data(first, check) == Qt.CheckState.Unchecked
    assert made.setData(first, 2, check)
    assert reported == [L4]
    made.set_pinned_offers((A10G, L4))
    assert made.data(first, check) == Qt.CheckState.Checked
    assert made.data(first, Qt.ItemDataRole.ToolTipRole) == "B in the comparison"


def test_the_reason_is_beside_the_offer() -> None:
    made = model()
    assert COLUMNS[:2] == ("offer", "why")
    assert made.data(made.index(0, 1)) == "recommended"
    assert str(made.data(made.index(1, 1))).endswith("$1,095/month more (42 %): $1.006/h instead of $0.706/h each")
