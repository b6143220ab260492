"""The Plan page's left side: what is asked for."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.gui.plan.rows import ChoiceRow, NumberRow, Row
from app.gui.plan.side import Side
from app.gui.plan.slo_rows import SloRows
from app.gui.plan.state import Edits, PlanState
from app.gui.plan.steppers import CountField, NumberField
from app.gui.plan.tick_list import TickRow
from app.gui.plan.traffic_rows import TrafficRows
from app.gui.theme import Look
from app.gui.widgets import label
from app.profiles.plan import ROUTERS
from app.profiles.traffic import WEEKS
from app.records.plan_question import PlanQuestion


class PlanInputs(Side):
    """`wanted` is a Change."""

    wanted = Signal(object)

    def __init__(self, look: Look) -> None:
        super().__init__("What the plan is asked for")
        self.setObjectName("plan-inputs")
        self.traffic = TrafficRows(look, _traffic_rows())
        self.slo = SloRows()
        sureness, limits = _sureness_rows(), _limit_rows()
        self.rows = {row.key: row for row in (*sureness, *limits)}
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(2, 2, 10, 12)
        column.setSpacing(7)
        for heading, widgets in (
            ("Traffic", (self.traffic,)),
            ("SLO: what every answer must keep", (self.slo,)),
            ("How sure, and how spread", sureness),
            ("What may be rented", limits),
        ):
            column.addWidget(label(heading, "heading", wrap=True))
            for widget in widgets:
                column.addWidget(widget)
        column.addStretch(1)
        self.hold(inner)
        self.traffic.wanted.connect(self.wanted)
        self.slo.wanted.connect(self.wanted)
        for row in self.rows.values():
            row.wanted.connect(self.wanted)
        self._of: object = None

    def show_state(self, state: PlanState) -> None:
        question = state.question
        if question is None or state.loaded is None:
            return
        if self._of is not state.loaded:
            self._of = state.loaded
            self.traffic.begin(state.loaded.peak_from, state.loaded.question.traffic.peak_per_s)
        self._show(question, state.edits)

    def _show(self, question: PlanQuestion, edits: Edits) -> None:
        self.traffic.show_question(question, edits)
        self.slo.show_question(question, edits)
        for row in self.rows.values():
            row.show_question(question, edits)


def _percent(share: float) -> str:
    return f"{share:g}%"


def _traffic_rows() -> tuple[Row, ...]:
    return (
        ChoiceRow(
            "traffic.week",
            ("&Week", "What the weekend has of a weekday's traffic."),
            (("even", "every day alike"), ("business", "less at the weekend")),
            lambda question: next(
                (name for name, shares in WEEKS.items() if shares == question.traffic.weekly_share), None
            ),
        ),
        NumberRow(
            "traffic.growth",
            ("&Growth", "Of the peak, over the coming year; the fleet is sized for today."),
            NumberField(-99, 10_000, 1, " % a year"),
            lambda question: 100 * question.traffic.growth_per_year,
            lambda value: f"{value:g}%/year",
        ),
        NumberRow(
            "traffic.uncertainty",
            (
                "Doubt of the pea&k",
                "How far the peak may be off (one standard deviation); the fleet has room for it.",
            ),
            NumberField(0, 100, 1, " %"),
            lambda question: 100 * question.traffic.uncertainty,
            _percent,
        ),
        NumberRow(
            "traffic.cache",
            ("Answered by a &cache", "This share of the requests never reaches the model."),
            NumberField(0, 99.9, 1, " %"),
            lambda question: 100 * question.traffic.cache_share,
            _percent,
        ),
    )


def _sureness_rows() -> tuple[Row, ...]:
    return (
        NumberRow(
            "plan.assurance",
            (
                "&Assurance",
                "The chance that the fleet keeps the SLO at the peak, given all that is not sure of it.",
            ),
            NumberField(50, 99.99, 2, " %"),
            lambda question: 100 * question.limits.assurance,
            _percent,
        ),
        NumberRow(
            "plan.redundancy",
            ("S&pare instances (N+k)", "So many may be lost at the peak, and the SLO still holds."),
            CountField(0, 1000, "N+"),
            lambda question: question.limits.redundancy,
            lambda value: f"n+{value:.0f}",
        ),
        NumberRow(
            "plan.zones",
            ("Availability &zones", "With more than one, losing any whole zone leaves enough."),
            CountField(1, 9),
            lambda question: question.limits.zones,
            lambda value: f"{value:.0f}",
        ),
        ChoiceRow(
            "plan.router",
            ("&Router", "How the load balancer spreads requests over replicas."),
            tuple((name, name.replace("-", " ")) for name in ROUTERS),
            lambda question: next((name for name, one in ROUTERS.items() if one == question.limits.router), None),
        ),
    )


def _limit_rows() -> tuple[Row, ...]:
    return (
        NumberRow(
            "plan.budget",
            ("&Budget", "What a month may cost at most; 0 is no limit."),
            _unlimited(NumberField(0, 1e9, 2, " USD a month")),
            lambda question: question.limits.budget_usd_per_month or 0.0,
            lambda value: f"{value!r} USD/month" if value else "null",
        ),
        ChoiceRow(
            "plan.price",
            ("Price &kind", "Spot instances may be taken away; reserved ones are paid for a year."),
            (("on-demand", "on demand"), ("reserved-1y", "reserved for a year"), ("spot", "spot")),
            lambda question: {"on demand": "on-demand", "reserved 1y": "reserved-1y"}.get(
                question.limits.price, question.limits.price
            ),
        ),
        TickRow(
            "plan.providers",
            ("Pro&viders", "None ticked admits all."),
            _providers,
            lambda question: question.limits.providers,
        ),
        TickRow(
            "plan.regions",
            ("R&egions", "None ticked admits all."),
            _regions,
            lambda question: question.limits.regions,
        ),
        TickRow(
            "plan.vendors",
            ("&Makers of accelerators", "None ticked admits all."),
            _vendors,
            lambda question: question.limits.vendors,
        ),
        NumberRow(
            "plan.max_accelerators",
            ("Most accelerators an &instance", "0 is no limit."),
            _unlimited(NumberField(0, 10_000, 0)),
            lambda question: question.limits.max_accelerators or 0.0,
            lambda value: f"{value:g}" if value else "null",
        ),
        NumberRow(
            "plan.max_price_age",
            (
                "Oldest price",
                "Offers whose price is older are refused; 0 is no limit. Without one, over 90 days warns.",
            ),
            _unlimited(NumberField(0, 36_500, 0, " days")),
            lambda question: question.limits.max_price_age_days or 0,
            lambda value: f"{value:.0f}d" if value else "null",
        ),
        ChoiceRow(
            "plan.low_trust_prices",
            (
                "Low-trust prices",
                "Marketplace asks and hand-kept price lists (trust low) are recommended only if included.",
            ),
            (("false", "exclude"), ("true", "include")),
            lambda question: "true" if question.limits.low_trust_prices else "false",
        ),
        ChoiceRow(
            "plan.other_cards",
            (
                "Accelerators nobody &measured",
                "Estimated from a measured one by what the cards can do at this precision, with a wide interval.",
            ),
            (
                ("null", "leave out"),
                *(
                    (f"{{dtype: {one}}}", f"estimate, for {one}")
                    for one in ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4")
                ),
            ),
            lambda question: (
                "null" if question.limits.other_cards is None else f"{{dtype: {question.limits.other_cards.dtype}}}"
            ),
        ),
    )


def _unlimited(field: NumberField) -> NumberField:
    field.setSpecialValueText("no limit")
    return field


def _providers(question: PlanQuestion) -> tuple[str, ...]:
    return tuple({offer.provider for offer in question.catalogue.offers})


def _regions(question: PlanQuestion) -> tuple[str, ...]:
    return tuple({offer.region for offer in question.catalogue.offers})


def _vendors(question: PlanQuestion) -> tuple[str, ...]:
    return tuple({card.vendor for card in question.catalogue.accelerators.values()})
