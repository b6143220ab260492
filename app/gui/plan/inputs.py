"""Input column of the Plan page: traffic, SLO, risk and hardware constraints."""

from __future__ import annotations

from typing import get_args

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from app.analysis.accelerator_names import NO_ACCELERATOR
from app.analysis.objectives import format_objective
from app.gui.plan.fields import CountField, NumberField
from app.gui.plan.multi_choice_row import MultiChoiceRow
from app.gui.plan.presenter import create_merge_id
from app.gui.plan.rows import ChoiceRow, InputRow, NumberRow
from app.gui.plan.side_column import SideColumn
from app.gui.plan.state import Change, PlanState
from app.gui.plan.traffic_rows import TrafficRows
from app.gui.slo_editor import SloEditor
from app.gui.theme import GAP, SCROLL_MARGINS, ThemeController
from app.gui.widgets import label, vbox
from app.profiles.traffic import WEEKS
from app.records.dtypes import COMPUTE_DTYPES
from app.records.offers import Router
from app.records.planning_inputs import PlanningInputs


class PlanInputs(SideColumn):
    """Input column of the Plan page. `change_requested` is emitted with a Change."""

    change_requested = Signal(object)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__("Plan inputs")
        self.setObjectName("plan-inputs")
        self.traffic = TrafficRows(theme_controller, _build_traffic_rows())
        self.slo = SloEditor(is_narrow=True)
        self._slo_merge_id = create_merge_id()
        risk_rows, constraint_rows = _build_risk_rows(), _build_constraint_rows()
        self.rows = {row.key: row for row in (*risk_rows, *constraint_rows)}
        content = QWidget()
        column = vbox(within=content, margins=SCROLL_MARGINS, spacing=GAP)
        for heading, widgets in (
            ("Traffic", (self.traffic,)),
            ("SLO targets", (self.slo,)),
            ("Risk and redundancy", risk_rows),
            ("Hardware constraints", constraint_rows),
        ):
            column.addWidget(label(heading, "heading", wrap=True))
            for widget in widgets:
                column.addWidget(widget)
        column.addStretch(1)
        self.set_content(content)
        self.traffic.change_requested.connect(self.change_requested)
        self.slo.edited.connect(self._request_slo)
        self.slo.finished.connect(self._renew_slo_merge_id)
        for row in self.rows.values():
            row.change_requested.connect(self.change_requested)
        self._displayed_request: object = None

    def show_state(self, state: PlanState) -> None:
        plan_inputs = state.inputs
        if plan_inputs is None or state.loaded_sources is None:
            return
        if self._displayed_request is not state.loaded_sources.request:
            self._displayed_request = state.loaded_sources.request
            self.traffic.reset(state.loaded_sources.traffic_source, state.loaded_sources.inputs.traffic.peak_per_s)
        self.traffic.show_inputs(plan_inputs, state.edits)
        self.slo.show_slo(
            state.edits.slo or _list_objective_texts(plan_inputs), _list_objective_texts(state.loaded_sources.inputs)
        )
        for row in self.rows.values():
            row.show_inputs(plan_inputs, state.edits)

    def _request_slo(self, texts: tuple[str, ...] | None) -> None:
        """Request a change of the SLO. An empty SLO is ignored, since a plan needs at least one
        objective."""
        if texts is None:
            self.change_requested.emit(Change("Reset SLO", slo=()))
        elif texts:
            self.change_requested.emit(
                Change(f"SLO {', '.join(map(format_objective, texts))}", slo=texts, merge_id=self._slo_merge_id)
            )

    def _renew_slo_merge_id(self) -> None:
        self._slo_merge_id = create_merge_id()


def _list_objective_texts(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple(objective.text for objective in plan_inputs.slo)


def _format_percent(share: float) -> str:
    return f"{share:g}%"


def _build_traffic_rows() -> tuple[InputRow, ...]:
    return (
        ChoiceRow(
            "traffic.week",
            "&Weekly profile",
            (("even", "Same every day"), ("business", "Lower on weekends")),
            lambda plan_inputs: next(
                (name for name, shares in WEEKS.items() if shares == plan_inputs.traffic.weekly_share), None
            ),
        ),
        NumberRow(
            "traffic.growth",
            "&Growth",
            NumberField(-99, 10_000, 1, " %/year"),
            lambda plan_inputs: 100 * plan_inputs.traffic.growth_per_year,
            lambda value: f"{value:g}%/year",
        ),
        NumberRow(
            "traffic.uncertainty",
            "Pea&k uncertainty (±)",
            NumberField(0, 100, 1, " %"),
            lambda plan_inputs: 100 * plan_inputs.traffic.uncertainty,
            _format_percent,
        ),
        NumberRow(
            "traffic.cache",
            "&Cache hit rate",
            NumberField(0, 99.9, 1, " %"),
            lambda plan_inputs: 100 * plan_inputs.traffic.cache_share,
            _format_percent,
        ),
        NumberRow(
            "traffic.prefix_cached",
            "Prefi&x-cached input",
            NumberField(0, 99.9, 1, " %"),
            lambda plan_inputs: 100 * plan_inputs.traffic.prefix_cached_share,
            _format_percent,
            is_for_models=True,
        ),
    )


def _build_risk_rows() -> tuple[InputRow, ...]:
    return (
        NumberRow(
            "plan.confidence",
            "Co&nfidence",
            NumberField(50, 99.99, 2, " %"),
            lambda plan_inputs: 100 * plan_inputs.limits.confidence,
            _format_percent,
        ),
        NumberRow(
            "plan.redundancy",
            "Spare instances (N+k)",
            CountField(0, 1000, "N+"),
            lambda plan_inputs: plan_inputs.limits.redundancy,
            lambda value: f"n+{value:.0f}",
        ),
        NumberRow(
            "plan.zones",
            "Availability &zones",
            CountField(1, 9),
            lambda plan_inputs: plan_inputs.limits.zones,
            lambda value: f"{value:.0f}",
        ),
        ChoiceRow(
            "plan.router",
            "Lo&ad-balancing policy",
            tuple((name, name.replace("-", " ")) for name in get_args(Router)),
            lambda plan_inputs: plan_inputs.limits.router,
        ),
    )


def _build_constraint_rows() -> tuple[InputRow, ...]:
    return (
        NumberRow(
            "plan.budget",
            "&Budget",
            _allow_no_limit(NumberField(0, 1e9, 2, " $/month")),
            lambda plan_inputs: plan_inputs.limits.budget_usd_per_month or 0.0,
            lambda value: f"{value!r} USD/month" if value else "null",
        ),
        ChoiceRow(
            "plan.price",
            "Price kind",
            (("on-demand", "On-demand"), ("reserved-1y", "Reserved (1 year)"), ("spot", "Spot")),
            lambda plan_inputs: plan_inputs.limits.price,
        ),
        MultiChoiceRow(
            "plan.providers", "Providers", _list_providers, lambda plan_inputs: plan_inputs.limits.providers
        ),
        MultiChoiceRow("plan.regions", "Regions", _list_regions, lambda plan_inputs: plan_inputs.limits.regions),
        MultiChoiceRow(
            "plan.accelerators", "GPU types", _list_accelerators, lambda plan_inputs: plan_inputs.limits.accelerators
        ),
        MultiChoiceRow("plan.vendors", "GPU vendors", _list_vendors, lambda plan_inputs: plan_inputs.limits.vendors),
        NumberRow(
            "plan.max_accelerators",
            "Max GPUs per instance",
            _allow_no_limit(NumberField(0, 10_000, 0)),
            lambda plan_inputs: plan_inputs.limits.max_accelerators or 0.0,
            lambda value: f"{value:g}" if value else "null",
        ),
        NumberRow(
            "plan.max_price_age",
            "Max price age",
            _allow_no_limit(NumberField(0, 36_500, 0, " days")),
            lambda plan_inputs: plan_inputs.limits.max_price_age_days or 0,
            lambda value: f"{value:.0f}d" if value else "null",
        ),
        MultiChoiceRow("plan.sources", "Price sources", _list_sources, lambda plan_inputs: plan_inputs.limits.sources),
        ChoiceRow(
            "plan.low_trust_prices",
            "Low-trust prices",
            (("false", "Exclude"), ("true", "Include")),
            lambda plan_inputs: "true" if plan_inputs.limits.low_trust_prices else "false",
        ),
        ChoiceRow(
            "plan.unmeasured_gpus",
            "Un&measured GPUs",
            (
                ("null", "Exclude"),
                *((f"{{dtype: {dtype}}}", f"Estimate ({dtype})") for dtype in COMPUTE_DTYPES),
            ),
            lambda plan_inputs: (
                "null"
                if plan_inputs.limits.unmeasured_gpus is None
                else f"{{dtype: {plan_inputs.limits.unmeasured_gpus.dtype}}}"
            ),
        ),
    )


def _allow_no_limit(field: NumberField) -> NumberField:
    field.setSpecialValueText("No limit")
    return field


def _list_providers(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple({offer.provider for offer in plan_inputs.catalog.offers})


def _list_regions(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple({offer.region for offer in plan_inputs.catalog.offers})


def _list_accelerators(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple({offer.accelerator or NO_ACCELERATOR for offer in plan_inputs.catalog.offers})


def _list_sources(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple({source for offer in plan_inputs.catalog.offers for source in offer.sources})


def _list_vendors(plan_inputs: PlanningInputs) -> tuple[str, ...]:
    return tuple({gpu.vendor for gpu in plan_inputs.catalog.accelerators.values()})
