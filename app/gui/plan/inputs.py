"""Input column of the Plan page: traffic, SLO, risk and hardware constraints."""

from __future__ import annotations

from typing import get_args

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.gui.plan.fields import CountField, NumberField
from app.gui.plan.multi_choice_row import MultiChoiceRow
from app.gui.plan.presenter import new_stroke
from app.gui.plan.rows import ChoiceRow, InputRow, NumberRow
from app.gui.plan.side_column import SideColumn
from app.gui.plan.state import Change, PlanState
from app.gui.plan.traffic_rows import TrafficRows
from app.gui.slo_editor import SloEditor, objective_label
from app.gui.theme import ThemeController
from app.gui.widgets import label, vbox
from app.profiles.traffic import WEEKS
from app.records.offers import Router
from app.records.planning_inputs import PlanningInputs


class PlanInputs(SideColumn):
    """Input column of the Plan page. `change_requested` is emitted with a Change."""

    change_requested = Signal(object)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__("Plan inputs")
        self.setObjectName("plan-inputs")
        self.traffic = TrafficRows(theme_controller, _traffic_rows())
        self.slo = SloEditor(is_narrow=True)
        self._slo_stroke = new_stroke()
        risk, limits = _risk_rows(), _limit_rows()
        self.rows = {row.key: row for row in (*risk, *limits)}
        inner = QWidget()
        column = vbox(within=inner, margins=(2, 2, 10, 12), spacing=7)
        for heading, widgets in (
            ("Traffic", (self.traffic,)),
            ("SLO targets", (self.slo,)),
            ("Risk and redundancy", risk),
            ("Hardware constraints", limits),
        ):
            column.addWidget(label(heading, "heading", wrap=True))
            for widget in widgets:
                column.addWidget(widget)
        column.addStretch(1)
        self.set_content(inner)
        self.traffic.change_requested.connect(self.change_requested)
        self.slo.edited.connect(self._request_slo)
        self.slo.finished.connect(self._end_slo_stroke)
        for row in self.rows.values():
            row.change_requested.connect(self.change_requested)
        self._shown_loaded: object = None

    def show_state(self, state: PlanState) -> None:
        question = state.inputs
        if question is None or state.loaded is None:
            return
        if self._shown_loaded is not state.loaded:
            self._shown_loaded = state.loaded
            self.traffic.reset(state.loaded.traffic_source, state.loaded.inputs.traffic.peak_per_s)
        self.traffic.show_inputs(question, state.edits)
        self.slo.show_slo(state.edits.slo or _texts(question), _texts(state.loaded.inputs))
        for row in self.rows.values():
            row.show_inputs(question, state.edits)

    def _request_slo(self, texts: tuple[str, ...] | None) -> None:
        """Request a different SLO. An empty SLO is ignored, since a plan needs at least one
        objective."""
        if texts is None:
            self.change_requested.emit(Change("Reset SLO", slo=()))
        elif texts:
            self.change_requested.emit(
                Change(f"SLO {', '.join(map(objective_label, texts))}", slo=texts, stroke=self._slo_stroke)
            )

    def _end_slo_stroke(self) -> None:
        self._slo_stroke = new_stroke()


def _texts(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple(objective.text for objective in plan_inputs.slo)


def _percent(share: float) -> str:
    return f"{share:g}%"


def _traffic_rows() -> tuple[InputRow, ...]:
    return (
        ChoiceRow(
            "traffic.week",
            "&Week",
            (("even", "Same every day"), ("business", "Lower on weekends")),
            lambda question: next(
                (name for name, shares in WEEKS.items() if shares == question.traffic.weekly_share), None
            ),
        ),
        NumberRow(
            "traffic.growth",
            "&Growth",
            NumberField(-99, 10_000, 1, " %/year"),
            lambda question: 100 * question.traffic.growth_per_year,
            lambda value: f"{value:g}%/year",
        ),
        NumberRow(
            "traffic.uncertainty",
            "Pea&k uncertainty (±)",
            NumberField(0, 100, 1, " %"),
            lambda question: 100 * question.traffic.uncertainty,
            _percent,
        ),
        NumberRow(
            "traffic.cache",
            "&Cache hit rate",
            NumberField(0, 99.9, 1, " %"),
            lambda question: 100 * question.traffic.cache_share,
            _percent,
        ),
    )


def _risk_rows() -> tuple[InputRow, ...]:
    return (
        NumberRow(
            "plan.confidence",
            "Co&nfidence",
            NumberField(50, 99.99, 2, " %"),
            lambda question: 100 * question.limits.confidence,
            _percent,
        ),
        NumberRow(
            "plan.redundancy",
            "S&pare instances (N+k)",
            CountField(0, 1000, "N+"),
            lambda question: question.limits.redundancy,
            lambda value: f"n+{value:.0f}",
        ),
        NumberRow(
            "plan.zones",
            "Availability &zones",
            CountField(1, 9),
            lambda question: question.limits.zones,
            lambda value: f"{value:.0f}",
        ),
        ChoiceRow(
            "plan.router",
            "Lo&ad-balancing policy",
            tuple((name, name.replace("-", " ")) for name in get_args(Router)),
            lambda question: question.limits.router,
        ),
    )


def _limit_rows() -> tuple[InputRow, ...]:
    return (
        NumberRow(
            "plan.budget",
            "&Budget",
            _unlimited(NumberField(0, 1e9, 2, " $/month")),
            lambda question: question.limits.budget_usd_per_month or 0.0,
            lambda value: f"{value!r} USD/month" if value else "null",
        ),
        ChoiceRow(
            "plan.price",
            "Price &kind",
            (("on-demand", "On-demand"), ("reserved-1y", "Reserved (1 year)"), ("spot", "Spot")),
            lambda question: question.limits.price,
        ),
        MultiChoiceRow("plan.providers", "Pro&viders", _providers, lambda question: question.limits.providers),
        MultiChoiceRow("plan.regions", "R&egions", _regions, lambda question: question.limits.regions),
        MultiChoiceRow("plan.vendors", "GPU vendo&rs", _vendors, lambda question: question.limits.vendors),
        NumberRow(
            "plan.max_accelerators",
            "Max GPUs per &instance",
            _unlimited(NumberField(0, 10_000, 0)),
            lambda question: question.limits.max_accelerators or 0.0,
            lambda value: f"{value:g}" if value else "null",
        ),
        NumberRow(
            "plan.max_price_age",
            "Max price age",
            _unlimited(NumberField(0, 36_500, 0, " days")),
            lambda question: question.limits.max_price_age_days or 0,
            lambda value: f"{value:.0f}d" if value else "null",
        ),
        ChoiceRow(
            "plan.low_trust_prices",
            "Low-trust prices",
            (("false", "Exclude"), ("true", "Include")),
            lambda question: "true" if question.limits.low_trust_prices else "false",
        ),
        ChoiceRow(
            "plan.unmeasured_gpus",
            "Un&measured GPUs",
            (
                ("null", "Exclude"),
                *(
                    (f"{{dtype: {dtype}}}", f"Estimate ({dtype})")
                    for dtype in ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4")
                ),
            ),
            lambda question: (
                "null"
                if question.limits.unmeasured_gpus is None
                else f"{{dtype: {question.limits.unmeasured_gpus.dtype}}}"
            ),
        ),
    )


def _unlimited(field: NumberField) -> NumberField:
    field.setSpecialValueText("No limit")
    return field


def _providers(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple({offer.provider for offer in plan_inputs.catalog.offers})


def _regions(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple({offer.region for offer in plan_inputs.catalog.offers})


def _vendors(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple({card.vendor for card in plan_inputs.catalog.accelerators.values()})
