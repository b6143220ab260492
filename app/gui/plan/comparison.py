"""Comparison of two pinned offers side by side, and the reason why an offer is not recommended."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QGridLayout, QLabel, QScrollArea, QToolButton, QWidget

from app.gui.formatting import NOT_AVAILABLE, format_number, with_unit
from app.gui.plan.figures import (
    format_accelerators,
    format_cost_range,
    format_latency,
    format_latency_metric,
    format_percent,
    format_usd,
    format_usd_per_hour,
)
from app.gui.theme import GAP_TIGHT
from app.gui.widgets import button, hbox, label, vbox
from app.planning.explanation import find_bottleneck
from app.planning.formatting import format_probability
from app.planning.sizing.instances import get_planned_rate_per_s
from app.records.plan import Fleet, Plan

PIN_MARKS = ("A", "B")
"""Marks of the pinned offers, in the table, the chart and the comparison."""
_SAME_COST_RATIO = 0.005
_MINUS = "−"
_WORD_JOINER = "\u2060"
"""Character that keeps the sign of an amount on its line."""
_ZERO_WIDTH_SPACE = "\u200b"
_BREAKABLE = re.compile(r"[-_./@]")
"""Characters in the key of an offer after which a line may break."""


class PinButton(QToolButton):
    """Button that pins the selected offer, or removes its pin, and is checked while the offer is
    pinned. `requested` is also emitted when P is pressed within `owner`."""

    requested = Signal()

    def __init__(self, name: str, owner: QWidget) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setToolTip("Pin the selected offer, or the recommended one, for the comparison (P)")
        self.setText("Pin")
        self.setCheckable(True)
        self.clicked.connect(self.requested)
        shortcut = QShortcut(QKeySequence(Qt.Key.Key_P), owner)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(self.requested)


def toggle_pin(pinned_offers: tuple[str, ...], offer: str) -> tuple[str, ...]:
    """Pin an offer, or remove its pin. A third offer replaces the second one, so that the first one
    can be compared with several others."""
    if offer in pinned_offers:
        return tuple(pinned for pinned in pinned_offers if pinned != offer)
    return (*pinned_offers[: len(PIN_MARKS) - 1], offer)


def explain_rank(fleet: Fleet, plan: Plan) -> str:
    """Return why an offer is excluded, or why it costs more than the recommended one; empty for the
    recommended offer."""
    if fleet.rejected is not None:
        return f"excluded: {fleet.rejected}"
    best = None if plan.recommendation is None else plan.recommendation.fleet
    if best is None or best.offer == fleet.offer:
        return ""
    cost, best_cost = fleet.usd_per_month.value, best.usd_per_month.value
    if cost is None or not best_cost:
        return ""
    causes = []
    if fleet.instances != best.instances:
        causes.append(f"{fleet.instances} instead of {best.instances} instances")
    if fleet.usd_per_hour_each != best.usd_per_hour_each:
        prices = tuple(map(format_usd_per_hour, (fleet.usd_per_hour_each, best.usd_per_hour_each)))
        causes.append(f"{prices[0]} instead of {prices[1]} each")
    if abs(cost - best_cost) < _SAME_COST_RATIO * best_cost:
        return "; ".join(["about the same cost", *causes])
    if cost < best_cost:
        causes.append("ranked lower because its price is old or of low trust")
    comparison = "more" if cost > best_cost else "less"
    share = f"{100 * abs(cost - best_cost) / best_cost:.0f} %"
    difference = f"{format_usd(abs(cost - best_cost))}/month {comparison} ({share})"
    return f"{difference}: {'; '.join(causes)}" if causes else difference


class ComparisonRow(msgspec.Struct, frozen=True):
    """One property of the pinned offers. `difference` is that of the second offer from the first;
    empty if there is none."""

    name: str
    values: tuple[str, ...]
    difference: str = ""


def build_comparison(fleets: Sequence[Fleet], plan: Plan) -> tuple[ComparisonRow, ...]:
    """Return the rows of the comparison of one or two fleets. Values that are not available, such
    as the cost of an excluded offer, are n/a."""
    rows = [
        _compare(fleets, "Verdict", lambda fleet: _format_verdict(fleet, plan)),
        _compare(fleets, "Instances", _format_instances, lambda fleet: fleet.instances, _format_count_difference),
        _compare(fleets, "Monthly cost (P10–P90)", _format_monthly_cost,
                 lambda fleet: fleet.usd_per_month.value, _format_cost_difference),
        _compare(fleets, "Per 1k inferences (95 % interval)", _format_cost_per_1k,
                 lambda fleet: fleet.usd_per_1k_inferences.value, _format_cost_difference),
    ]  # fmt: skip
    if any(get_cost_per_1m_tokens(fleet) is not None for fleet in fleets):
        rows.append(
            _compare(fleets, "Per 1M tokens", lambda fleet: format_usd(get_cost_per_1m_tokens(fleet)),
                     get_cost_per_1m_tokens, _format_cost_difference)
        )  # fmt: skip
    rows += [
        _compare(fleets, "P(SLO met)", _format_probability, _get_probability, _format_share_difference),
        _compare(fleets, format_latency_metric(plan.latency_metric),
                 format_latency,
                 lambda fleet: fleet.latency_at_peak.value, lambda low, high: _format_difference(high - low, "ms")),
        _compare(fleets, "Peak utilization", lambda fleet: format_percent(fleet.utilization_at_peak.value),
                 lambda fleet: fleet.utilization_at_peak.value, _format_share_difference),
        _compare(fleets, "Bottleneck", format_bottleneck),
        _compare(fleets, "Reason", lambda fleet: explain_rank(fleet, plan)),
        _compare(fleets, "Basis", _format_basis),
        _compare(fleets, "Accelerators", format_accelerators),
        _compare(fleets, "Price per instance", lambda fleet: format_usd_per_hour(fleet.usd_per_hour_each),
                 lambda fleet: fleet.usd_per_hour_each,
                 lambda low, high: f"{_format_sign(high - low)}{format_usd_per_hour(abs(high - low))}"),
        _compare(fleets, "Price date", lambda fleet: f"{fleet.price_date} ({fleet.price_kind})"),
    ]  # fmt: skip
    return tuple(rows)


def _compare(
    fleets: Sequence[Fleet],
    name: str,
    format_value: Callable[[Fleet], str],
    get_value: Callable[[Fleet], float | None] | None = None,
    format_difference: Callable[[float, float], str] | None = None,
) -> ComparisonRow:
    """Return one row. The difference is empty if a value is missing or both are equal."""
    texts = tuple(format_value(fleet) for fleet in fleets)
    difference = ""
    if get_value is not None and format_difference is not None and len(fleets) == len(PIN_MARKS):
        first, second = map(get_value, fleets)
        if first is not None and second is not None:
            difference = "same" if first == second else format_difference(first, second)
        else:
            difference = NOT_AVAILABLE
    return ComparisonRow(name, texts, difference)


def get_cost_per_1m_tokens(fleet: Fleet) -> float | None:
    costs = fleet.per_1m_tokens
    token_cost = None if costs is None or fleet.rejected is not None else costs.all or costs.output
    return None if token_cost is None else token_cost.at_mean


def format_bottleneck(fleet: Fleet) -> str:
    """Format what determines the number of instances, with the peak that one instance sustains at
    the plan's confidence."""
    rate_per_s = get_planned_rate_per_s(fleet)
    if fleet.instances is None or rate_per_s is None:
        return NOT_AVAILABLE
    spares = fleet.spare_instances or 0
    bottleneck = find_bottleneck(fleet.instances - spares, spares)
    sustained = with_unit(format_number(rate_per_s * (fleet.replicas_per_instance or 1)), "req/s")
    return f"{bottleneck}: one instance sustains {sustained}"


def _format_verdict(fleet: Fleet, plan: Plan) -> str:
    if fleet.rejected is not None:
        return "excluded"
    is_recommended = plan.recommendation is not None and plan.recommendation.fleet.offer == fleet.offer
    return "recommended" if is_recommended else "meets the SLO"


def _format_instances(fleet: Fleet) -> str:
    if fleet.instances is None:
        return NOT_AVAILABLE
    spares = fleet.spare_instances or 0
    return f"{fleet.instances} ({fleet.instances - spares} for load, {spares} spare)"


def _format_monthly_cost(fleet: Fleet) -> str:
    cost = fleet.usd_per_month.value
    if cost is None:
        return NOT_AVAILABLE
    return f"{format_usd(cost)} ({format_cost_range(fleet.usd_per_month_needed)})"


def _format_cost_per_1k(fleet: Fleet) -> str:
    cost = fleet.usd_per_1k_inferences
    if cost.value is None:
        return NOT_AVAILABLE
    interval = NOT_AVAILABLE if cost.ci95 is None else " – ".join(map(format_usd, cost.ci95))
    return f"{format_usd(cost.value)} ({interval})"


def _get_probability(fleet: Fleet) -> float | None:
    return None if fleet.slo_probabilities is None or fleet.rejected else fleet.slo_probabilities.planned


def _format_probability(fleet: Fleet) -> str:
    probability = _get_probability(fleet)
    return NOT_AVAILABLE if probability is None else format_probability(probability)


def _format_basis(fleet: Fleet) -> str:
    if fleet.rejected is not None:
        return NOT_AVAILABLE
    return f"{fleet.basis}, {'analytical estimate' if fleet.sizing_method == 'formula' else fleet.sizing_method}"


def _format_sign(difference: float) -> str:
    return "+" if difference > 0 else _MINUS


def _format_difference(difference: float, unit: str) -> str:
    return f"{_format_sign(difference)}{with_unit(format_number(abs(difference)), unit)}"


def _format_count_difference(first: float, second: float) -> str:
    return f"{_format_sign(second - first)}{abs(second - first):g}"


def _format_cost_difference(first: float, second: float) -> str:
    sign = _format_sign(second - first)
    share = "" if not first else f" ({sign}{100 * abs(second - first) / first:.0f} %)"
    return f"{sign}{format_usd(abs(second - first))}{share}"


def _format_share_difference(first: float, second: float) -> str:
    """Format a difference of shares in percentage points."""
    return f"{_format_sign(second - first)}{100 * abs(second - first):.1f} pp"


class ComparisonView(QScrollArea):
    """Columns of the two pinned offers with their differences. `pin_toggled` is emitted with the
    key of an offer whose pin is removed."""

    pin_toggled = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Comparison of two offers")
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self._offers: tuple[str, ...] = ()
        self._hint = label("", "muted", wrap=True)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(GAP_TIGHT)
        for column, stretch in enumerate((3, 4, 4, 4)):
            self._grid.setColumnStretch(column, stretch)
        self._headings = tuple(label("", "strong", wrap=True) for _ in PIN_MARKS)
        self._difference_heading = label("B − A", "strong", wrap=True)
        for column, heading in enumerate((*self._headings, self._difference_heading), start=1):
            self._grid.addWidget(heading, 0, column, Qt.AlignmentFlag.AlignTop)
        self._cells: list[tuple[QLabel, ...]] = []
        self.unpin_buttons = tuple(button(f"Unpin {mark}", partial(self._unpin, mark)) for mark in PIN_MARKS)
        content = QWidget()
        vbox(hbox(*self.unpin_buttons, 1), self._hint, self._grid, 1, within=content, margins=(4, 4, 12, 12))
        self.setWidget(content)
        self.show_comparison((), None)

    def show_comparison(self, offers: tuple[str, ...], plan: Plan | None) -> None:
        """Show the pinned offers of a plan."""
        self._offers = offers
        fleets_by_offer = {} if plan is None else {fleet.offer: fleet for fleet in plan.offers}
        fleets = [fleets_by_offer[offer] for offer in offers if offer in fleets_by_offer]
        rows = () if plan is None or not fleets else build_comparison(fleets, plan)
        self._hint.setText(_HINTS[len(fleets)])
        self._hint.setVisible(bool(_HINTS[len(fleets)]))
        for index, (heading, unpin_button) in enumerate(zip(self._headings, self.unpin_buttons, strict=True)):
            text = f"{PIN_MARKS[index]}: {fleets[index].offer}" if index < len(fleets) else ""
            heading.setText(_BREAKABLE.sub(f"\\g<0>{_ZERO_WIDTH_SPACE}", text))
            heading.setAccessibleName(text)
            unpin_button.setVisible(index < len(fleets))
        self._difference_heading.setVisible(len(fleets) == len(PIN_MARKS))
        self._show_rows(rows)

    def _show_rows(self, rows: tuple[ComparisonRow, ...]) -> None:
        while len(self._cells) < len(rows):
            cells = (label("", "muted", wrap=True), *(label("", wrap=True) for _ in range(3)))
            for column, cell in enumerate(cells):
                cell.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                self._grid.addWidget(cell, len(self._cells) + 1, column, Qt.AlignmentFlag.AlignTop)
            self._cells.append(cells)
        for index, cells in enumerate(self._cells):
            texts = _list_texts(rows[index]) if index < len(rows) else ("", "", "", "")
            for cell, text in zip(cells, texts, strict=True):
                cell.setText(text)
                cell.setAccessibleName(f"{texts[0]}: {text}")
                cell.setVisible(index < len(rows))

    def texts(self) -> dict[str, tuple[str, ...]]:
        """Return the texts of each row by its name: both columns and the difference."""
        return {cells[0].text(): tuple(cell.text() for cell in cells[1:]) for cells in self._cells if cells[0].text()}

    def _unpin(self, mark: str) -> None:
        self.pin_toggled.emit(self._offers[PIN_MARKS.index(mark)])


_HINTS = (
    "No offer is pinned. Tick two offers in the table, or select an offer and press P.",
    "Tick a second offer in the table to see both side by side.",
    "",
)
"""Hints by the number of pinned offers."""


def _list_texts(row: ComparisonRow) -> tuple[str, str, str, str]:
    values = (*row.values, "", "")
    difference = row.difference.replace("$", f"{_WORD_JOINER}$")
    return (row.name, values[0] or "–", (values[1] or "–") if len(row.values) > 1 else "", difference)
