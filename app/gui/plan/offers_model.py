"""Table model of the offers, one row per fleet with its cost or its rejection reason. Only the
price can be edited."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QFont

from app.gui.formatting import NOT_AVAILABLE, format_cell, shorten
from app.gui.plan.comparison import PIN_MARKS, explain_rank
from app.gui.plan.figures import format_accelerators, format_amount, format_hourly_price, format_usd_per_hour
from app.gui.tables import FrameModel
from app.planning.formatting import format_probability
from app.records.engine_presets import ENGINE_PRESETS
from app.records.plan import Fleet, Plan, ServedReplica
from reports.formatting import format_count_noun

PRICE_COLUMN = "price"
_PRICE_ROLES = frozenset(
    map(int, (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.EditRole,
              Qt.ItemDataRole.FontRole, Qt.ItemDataRole.ToolTipRole))
)  # fmt: skip
"""Item roles for which price cells behave differently from other cells."""
_TEXT_ROLES = frozenset(map(int, (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole)))
COLUMNS = (
    "offer", "why", "instances", "month", "cost_range", "probability", PRICE_COLUMN, "accelerators", "used", "latency",
    "risk", "basis", "sizing_method", "age", "dated", "rate",
    "replica", "user_rate", "accelerator_rate",
)  # fmt: skip
REPLICA_COLUMNS = ("replica", "user_rate", "accelerator_rate")
"""Columns that only offers of a language model without measurements have."""
_PRICE_INDEX, _LATENCY_INDEX = COLUMNS.index(PRICE_COLUMN), COLUMNS.index("latency")
_FLOAT_COLUMNS = ("month", PRICE_COLUMN, "probability", "used", "latency", "rate", *REPLICA_COLUMNS[1:])
_MAX_CHARACTERS = 300
_EDITED_MARK = "✎"


def build_headers() -> dict[str, str]:
    return {
        "offer": "Offer",
        "instances": "Instances",
        "month": "Cost ($/month)",
        "cost_range": "Cost, P10–P90 ($/month)",
        PRICE_COLUMN: "Price ($/h)",
        "probability": "Probability of meeting SLO",
        "used": "Peak utilization",
        "latency": "Latency at peak (ms)",
        "rate": "Capacity per instance (req/s)",
        "risk": "Risk (0–4)",
        "dated": "Price date",
        "age": "Price age (days)",
        "basis": "Basis",
        "sizing_method": "Sizing method",
        "why": "Reason",
        "accelerators": "Accelerators",
        "replica": "Replica",
        "user_rate": "Throughput per user (tok/s)",
        "accelerator_rate": "Throughput per accelerator (tok/s)",
    }


def build_frame(plan: Plan) -> pd.DataFrame:
    """Return a table with one row per fleet: feasible fleets first, sorted by cost."""
    pareto_front = {(fleet.offer, fleet.instances) for fleet in plan.pareto}
    recommended_offer = None if plan.recommendation is None else plan.recommendation.fleet.offer
    marks_by_offer = {
        fleet.offer: "Pareto-optimal" for fleet in plan.offers if (fleet.offer, fleet.instances) in pareto_front
    }
    if recommended_offer is not None:
        marks_by_offer[recommended_offer] = "recommended"
    rows = [_build_row(fleet, plan, marks_by_offer.get(fleet.offer)) for fleet in plan.offers]
    dtypes = {"instances": "Int64", "risk": "int64", "age": "int64"} | dict.fromkeys(_FLOAT_COLUMNS, "float64")
    # set the type of each column explicitly, since pandas would infer it
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=dtypes.get(name, "object"))
            for name, values in zip(COLUMNS, columns, strict=True)
        }
    )


def _build_row(fleet: Fleet, plan: Plan, mark: str | None) -> tuple[object, ...]:
    cost_range, is_feasible = fleet.usd_per_month_needed, fleet.rejected is None
    replica = fleet.served_replica
    return (
        fleet.offer,
        _format_reason(fleet, plan, mark),
        fleet.instances,
        fleet.usd_per_month.value,
        None if cost_range is None else f"{format_amount(cost_range.p10)}–{format_amount(cost_range.p90)}",
        None if fleet.slo_probabilities is None else fleet.slo_probabilities.planned,
        fleet.usd_per_hour_each,
        format_accelerators(fleet),
        fleet.utilization_at_peak.value,
        fleet.latency_at_peak.value,
        fleet.risk,
        fleet.basis if is_feasible else None,
        fleet.sizing_method if is_feasible else None,
        fleet.price_age_days,
        fleet.price_date,
        fleet.capacity_per_instance_per_s.value,
        None if replica is None else _format_replica(replica),
        None if replica is None else replica.tokens_per_s_per_user,
        None if replica is None else replica.tokens_per_s_per_accelerator,
    )


def _format_replica(replica: ServedReplica) -> str:
    accelerators_text = format_count_noun(replica.accelerators, "accelerator")
    return f"{accelerators_text}, {ENGINE_PRESETS[replica.engine].title}, {replica.weights}"


def _format_reason(fleet: Fleet, plan: Plan, mark: str | None) -> str:
    """Format the mark of an offer, and the reason why it is not recommended."""
    reason = explain_rank(fleet, plan)
    return shorten("; ".join(text for text in (mark, reason) if text), _MAX_CHARACTERS)


def _format_probability(value: object) -> str:
    return format_probability(value) if isinstance(value, float) and value == value else NOT_AVAILABLE


def _format_sizing_method(value: object) -> str:
    return "analytical estimate" if value == "formula" else NOT_AVAILABLE if value is None else str(value)


def _format_percent(value: object) -> str:
    return f"{100 * value:.0f} %" if isinstance(value, float) and value == value else NOT_AVAILABLE


def _format_usd(value: object) -> str:
    return format_amount(value) if isinstance(value, float) and value == value else NOT_AVAILABLE


def _format_integer(value: object) -> str:
    return NOT_AVAILABLE if value is None or value is pd.NA else format_cell(value)


class OffersModel(FrameModel):
    """Table model of the offers. `price_requested` is emitted with the key of an offer and, as a
    string, the requested price of one instance in USD per hour."""

    price_requested = Signal(str, str)
    pin_toggled = Signal(str)
    """Signal that is emitted with the key of an offer when its checkbox is ticked or cleared."""

    def __init__(self) -> None:
        super().__init__(
            pd.DataFrame(columns=list(COLUMNS)),
            build_headers(),
            {
                "instances": _format_integer,
                "month": _format_usd,
                PRICE_COLUMN: self._format_price,
                "probability": _format_probability,
                "used": _format_percent,
                "sizing_method": _format_sizing_method,
            },
        )
        self._edited_prices: dict[str, str] = {}
        self._original_prices: dict[str, float | None] = {}
        self._pinned_offers: tuple[str, ...] = ()
        self._limited_offers: frozenset[str] = frozenset()
        self.problem = ""

    def set_limited_offers(self, offers: frozenset[str]) -> None:
        """Set the offers whose latency is only a limit, which is marked with ≤."""
        self._limited_offers = offers

    def set_pinned_offers(self, offers: tuple[str, ...]) -> None:
        if offers == self._pinned_offers:
            return
        self._pinned_offers = offers
        if self.rowCount():
            self.dataChanged.emit(self.index(0, 0), self.index(self.rowCount() - 1, 0))

    def set_edited_prices(self, edited_prices: Mapping[str, str], original_prices: Mapping[str, float | None]) -> None:
        """Set the edited prices and the original price of each edited offer, both by offer key."""
        self._edited_prices, self._original_prices = dict(edited_prices), dict(original_prices)

    def edited_offers(self) -> tuple[str, ...]:
        """Return the keys of the offers whose price was edited by the user."""
        return tuple(self._edited_prices)

    def offer(self, row: int) -> str:
        return str(self.value(row, 0))

    def find_row(self, offer: str) -> int | None:
        offers = self.visible_frame()["offer"].tolist()
        return offers.index(offer) if offer in offers else None

    def is_edited(self, row: int) -> bool:
        return self.offer(row) in self._edited_prices

    def flags(self, index: QModelIndex | QPersistentModelIndex) -> Qt.ItemFlag:
        flags = super().flags(index)
        if index.isValid() and index.column() == 0:
            return flags | Qt.ItemFlag.ItemIsUserCheckable
        return flags | Qt.ItemFlag.ItemIsEditable if self._is_price_cell(index) else flags

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        column = index.column()
        if column == 0 and role in (Qt.ItemDataRole.CheckStateRole, Qt.ItemDataRole.ToolTipRole):
            return self._pin_data(self.offer(index.row()), role)
        if column == _PRICE_INDEX and role in _PRICE_ROLES:
            return self._price_data(index, role)
        if column == _LATENCY_INDEX and role in _TEXT_ROLES and self.offer(index.row()) in self._limited_offers:
            text = super().data(index, role)
            return text if text == NOT_AVAILABLE else f"≤ {text}"
        return super().data(index, role)

    def setData(
        self, index: QModelIndex | QPersistentModelIndex, value: object, role: int = Qt.ItemDataRole.EditRole
    ) -> bool:
        """Request a new price for an offer, or pin it. The new price is shown once the plan uses
        it. Return `False` if `value` is not a valid price."""
        from app.profiles.problems import BadValueError
        from app.profiles.units import parse_usd_per_hour

        if role == Qt.ItemDataRole.CheckStateRole and index.isValid() and index.column() == 0:
            self.pin_toggled.emit(self.offer(index.row()))
            return True
        if role != Qt.ItemDataRole.EditRole or not self._is_price_cell(index):
            return False
        text = str(value).strip().replace(",", "")
        try:
            price = parse_usd_per_hour(text if "/" in text else f"{text} USD/h")
        except BadValueError as error:
            self.problem = str(error)
            return False
        self.price_requested.emit(self.offer(index.row()), f"{price!r}")
        return True

    def _pin_data(self, offer: str, role: int) -> object:
        is_pinned = offer in self._pinned_offers
        if role == Qt.ItemDataRole.CheckStateRole:
            return Qt.CheckState.Checked if is_pinned else Qt.CheckState.Unchecked
        if is_pinned:
            return f"{PIN_MARKS[self._pinned_offers.index(offer)]} in the comparison"
        return "Tick two offers to compare them side by side (P pins the selected offer)."

    def _price_data(self, index: QModelIndex | QPersistentModelIndex, role: int) -> object:
        offer = self.offer(index.row())
        is_edited = offer in self._edited_prices
        if role == Qt.ItemDataRole.EditRole:
            value = super().data(index, Qt.ItemDataRole.UserRole)
            return format_hourly_price(value) if isinstance(value, float) and value == value else ""
        if role == Qt.ItemDataRole.FontRole and is_edited:
            font = QFont()
            font.setBold(True)
            return font
        if role == Qt.ItemDataRole.ToolTipRole:
            if is_edited:
                return f"Custom price (original: {format_usd_per_hour(self._original_prices.get(offer))})"
            return "Double-click or press F2 to edit the price."
        text = super().data(index, role)
        is_text = role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole)
        return f"{_EDITED_MARK} {text}" if is_edited and is_text else text

    def _is_price_cell(self, index: QModelIndex | QPersistentModelIndex) -> bool:
        return index.isValid() and index.column() == _PRICE_INDEX

    @staticmethod
    def _format_price(value: object) -> str:
        return format_hourly_price(value) if isinstance(value, float) and value == value else NOT_AVAILABLE
