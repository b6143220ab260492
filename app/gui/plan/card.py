"""Result card of the Plan page: the recommended fleet with its reasons, risks and sensitivity, or
what prevents a recommendation."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from app.analysis.objectives import format_objective
from app.gui.caveats import Caveat, Caveats
from app.gui.formatting import NOT_AVAILABLE, format_plain, sentence
from app.gui.plan.comparison import explain_rank
from app.gui.plan.figures import (
    format_cost_range,
    format_latency,
    format_latency_metric,
    format_percent,
    format_price,
    format_price_age,
    format_quantity,
    format_risk,
    format_slo_probabilities,
    format_usd,
)
from app.gui.plan.result_widgets import (
    CapacityTable,
    PropertyList,
    SensitivityTable,
    Sentences,
    build_capacity_rows,
    list_rejection_reasons,
)
from app.gui.plan.side_column import SideColumn
from app.gui.plan.state import Change, PlanState, find_fleet
from app.gui.widgets import Badge, button, card, clear, hbox, label, restyle, vbox
from app.planning.formatting import format_probability
from app.planning.what_if.relaxation import Relaxation
from app.records.plan import CapacityKnowledge, Fleet, Plan, SizingMethod

_MAX_SENTENCES = 8


class PlanCard(SideColumn):
    """Result card of a plan. `header` is a separate widget above the panels, with the
    recommendation, its confidence and its caveats.

    `change_requested` is emitted with the `Change` that applies a suggested relaxation,
    `offer_requested` with the key of an offer to show (an empty key for the recommended offer).
    """

    change_requested = Signal(object)
    offer_requested = Signal(str)

    def __init__(self) -> None:
        super().__init__("Recommended fleet")
        self.setObjectName("plan-card")
        self._state = PlanState()
        self._selected_offer: str | None = None
        self.title = label("Recommendation", "muted")
        self.sentence = label("", "heading", wrap=True)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.next_step = label("", wrap=True)
        self.next_step.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.confidence, self.based_on = label("", wrap=True), label("", "muted", wrap=True)
        self.caveats = Caveats()
        self.badge, self.basis = Badge(), Badge()
        self.back_button = button("Show recommended &fleet", self._show_recommended)
        self.capacity = CapacityTable()
        self.properties = PropertyList()
        self.reasons = Sentences("Reasons")
        self.sensitivity_notes = Sentences("Sensitivity")
        self.sensitivity = SensitivityTable()
        self.alternatives = Sentences("Alternatives")
        self.savings = Sentences("Savings")
        self.assumptions = Sentences("Assumptions")
        self.blockers = Sentences("Blockers")
        self.relaxations_title = label("Smallest sufficient changes", "heading", wrap=True)
        self.relaxations = QWidget()
        self._relaxations_layout = vbox(within=self.relaxations)
        self._displayed_relaxations: tuple[Relaxation, ...] = ()
        self._build_layout()

    def _build_layout(self) -> None:
        title_row = QWidget()
        hbox(self.title, self.badge, self.basis, 1, self.back_button, within=title_row, spacing=6)
        self.header = card(title_row, self.sentence, self.next_step, self.confidence, self.based_on, self.caveats)
        self.header.setAccessibleName("Decision")
        content = QWidget()
        vbox(
            self.blockers,
            self.relaxations_title,
            self.relaxations,
            self.capacity,
            self.properties,
            self.reasons,
            self.sensitivity_notes,
            self.sensitivity,
            self.alternatives,
            self.savings,
            self.assumptions,
            1,
            within=content,
            margins=(4, 2, 8, 12),
        )
        self.set_content(content)

    def show_state(self, state: PlanState) -> None:
        self._state = state
        plan = state.plan
        fleet = None if plan is None else find_fleet(plan, self._selected_offer)
        show_badge(self.badge, state, fleet)
        self._show_confidence(fleet, plan)
        self._show_next_step(fleet, plan)
        if plan is None:
            self.sentence.setText("Calculating the plan…")
            return
        is_recommended = plan.recommendation is not None and fleet is plan.recommendation.fleet
        self.back_button.setVisible(not is_recommended and plan.recommendation is not None)
        if plan.recommendation is None:
            self._show_blockers(state, plan)
        else:
            self.blockers.set_sentences(())
            self._show_relaxations(())
            self.relaxations_title.hide()
        self.properties.set_properties(() if fleet is None else _build_properties(fleet, plan))
        if fleet is not None:
            self._show_fleet(fleet, plan, is_recommended)
        self.capacity.show_capacity(build_capacity_rows(fleet), format_sizing(fleet, state))
        self._show_reasons(plan if is_recommended else None)
        if fleet is not None and not is_recommended:
            self.reasons.set_sentences(_list_rank_reasons(fleet, plan))
        self.assumptions.set_sentences(plan.notes[:_MAX_SENTENCES])

    def select_offer(self, offer: str | None) -> None:
        """Show the offer with this key, or the recommended offer for `None`."""
        self._selected_offer = offer
        self.show_state(self._state)

    def _show_fleet(self, fleet: Fleet, plan: Plan, is_recommended: bool) -> None:
        self.title.setText("Recommendation" if is_recommended else "Alternative offer")
        self.basis.show_verdict(
            fleet.basis.upper() if fleet.rejected is None else "", _BASIS_TEXTS.get(fleet.basis, "")
        )
        if fleet.rejected is not None:
            self.title.setText("Excluded offer")
            self.sentence.setText(f"{fleet.offer} is excluded: {fleet.rejected}")
            return
        text = f"{fleet.instances} × {fleet.offer}: {format_usd(fleet.usd_per_month.value)}/month"
        self.sentence.setText(_build_headline(plan, text) if is_recommended else text)

    def _show_confidence(self, fleet: Fleet | None, plan: Plan | None) -> None:
        texts, caveats = ("", ""), []
        if fleet is not None and plan is not None and fleet.rejected is None:
            texts, caveats = (_format_confidence(fleet, plan), _format_basis(fleet)), _list_caveats(fleet, plan)
        for text_label, text in zip((self.confidence, self.based_on), texts, strict=True):
            text_label.setText(text)
            text_label.setVisible(bool(text))
        self.caveats.show_caveats(caveats)

    def _show_next_step(self, fleet: Fleet | None, plan: Plan | None) -> None:
        """Show what to measure if the capacity of the recommended fleet, or that of the best excluded one, is not
        known."""
        recommendation = None if plan is None else plan.recommendation
        is_shown = recommendation is None or fleet is recommendation.fleet
        knowledge = None if plan is None or not is_shown else _find_missing_knowledge(plan)
        self.next_step.setText("" if knowledge is None else knowledge.next_step)
        self.next_step.setVisible(knowledge is not None)

    def _show_reasons(self, plan: Plan | None) -> None:
        """Show the reasons for the recommendation. Only the recommended fleet has reasons."""
        recommendation = None if plan is None else plan.recommendation
        self.reasons.set_sentences(
            () if recommendation is None else (sentence(recommendation.binding_constraint), *recommendation.why)
        )
        self.sensitivity_notes.set_sentences(() if recommendation is None else recommendation.would_change_it)
        if plan is None or recommendation is None:
            self.sensitivity.show_sensitivity(())
        else:
            self.sensitivity.show_sensitivity(plan.sensitivity, recommendation.fleet.offer)
        self.alternatives.set_sentences(() if plan is None else _list_alternatives(plan))
        self.savings.set_sentences(() if plan is None else _list_savings(plan))

    def _show_blockers(self, state: PlanState, plan: Plan) -> None:
        template = "No offer sustains a peak of {peak} req/s within {slo}."
        text = template.format(
            peak=format_plain(plan.traffic.peak_per_s), slo=" and ".join(map(format_objective, plan.slo))
        )
        self.sentence.setText(_build_headline(plan, text))
        self.title.setText("No recommendation")
        self.basis.show_verdict("")
        self.blockers.set_sentences(list_rejection_reasons(plan))
        self.relaxations_title.show()
        relaxations = state.relaxations
        self._show_relaxations(relaxations or ())
        if relaxations is None:
            self.relaxations_title.setText("Searching for sufficient single changes…")
        elif relaxations:
            self.relaxations_title.setText("Smallest sufficient changes (each on its own)")
        else:
            self.relaxations_title.setText("No sufficient single change")

    def _show_relaxations(self, relaxations: tuple[Relaxation, ...]) -> None:
        """Keep the buttons of relaxations that are shown already, so that a click is not lost."""
        if relaxations == self._displayed_relaxations:
            return
        self._displayed_relaxations = relaxations
        clear(self._relaxations_layout)
        for relaxation in relaxations:
            self._relaxations_layout.addWidget(label(relaxation.text, wrap=True))
            self._relaxations_layout.addWidget(
                button(_format_relaxation(relaxation), partial(self._request_relaxation, relaxation))
            )

    def _request_relaxation(self, relaxation: Relaxation) -> None:
        values = tuple((key, value) for key, _, value in (change.partition("=") for change in relaxation.changes))
        self.change_requested.emit(Change(_format_relaxation(relaxation), values, relaxation.slo or None))

    def _show_recommended(self) -> None:
        self.offer_requested.emit("")


def _list_rank_reasons(fleet: Fleet, plan: Plan) -> tuple[str, ...]:
    """Return why an offer is not recommended. The headline states the reason of an excluded
    offer."""
    reason = "" if fleet.rejected is not None else explain_rank(fleet, plan)
    return (sentence(reason),) if reason else ()


def format_sizing(fleet: Fleet | None, state: PlanState) -> str:
    """Format how the capacity of a fleet was computed."""
    if fleet is None:
        return ""
    if fleet.sizing_method == "formula" and (state.phase == "preview" or state.simulating_offer is not None):
        return "Analytical estimate; the simulation is running."
    return {
        "simulated": "Simulated.",
        "formula": "Analytical estimate.",
        "measured": "From the measured max rate.",
    }[fleet.sizing_method]


def _build_headline(plan: Plan, text: str) -> str:
    """Return the headline. If the capacity is not known, the headline starts with what that means."""
    knowledge = _find_missing_knowledge(plan)
    return text if knowledge is None else f"{knowledge.headline} {text}"


def _find_missing_knowledge(plan: Plan) -> CapacityKnowledge | None:
    """Return what is known of the capacity; `None` if that is enough."""
    knowledge = plan.capacity_knowledge
    return None if knowledge is None or knowledge.state == "known" else knowledge


_BASIS_TEXTS = {
    "measured": "The capacity was measured on the same hardware.",
    "interpolated": "The capacity was interpolated between measurements.",
    "extrapolated": (
        "The capacity was scaled from measurements on other hardware. The interval includes the scaling error."
    ),
    "assumed": "The capacity is partly assumed: it is based on values that were entered or selected, not measured.",
}


def _format_confidence(fleet: Fleet, plan: Plan) -> str:
    """Format the peak rate that the fleet serves, and the probability that the fleet meets the
    SLO."""
    probability_text = f"; P(SLO met) is {NOT_AVAILABLE}"
    if fleet.slo_probabilities is not None:
        probability_text = f" with {format_probability(fleet.slo_probabilities.planned)} probability"
    slo = " and ".join(map(format_objective, plan.slo))
    return f"Serves {format_plain(plan.traffic.peak_per_s)} req/s within {slo}{probability_text}."


def _format_basis(fleet: Fleet) -> str:
    return f"The fleet is based on {fleet.measured_on or 'assumptions'}. {_BASIS_TEXTS[fleet.basis]}"


def _list_caveats(fleet: Fleet, plan: Plan) -> list[Caveat]:
    """Return the validity checks and the risks of a fleet as caveats. Only the recommended fleet
    has validity checks."""
    is_recommended = plan.recommendation is not None and fleet is plan.recommendation.fleet
    checks = plan.checks if is_recommended else ()
    return [
        *(Caveat(check.name, sentence(check.hint or check.name), check.verdict) for check in checks),
        *(Caveat(reason, sentence(reason)) for reason in fleet.risk_reasons),
    ]


_SIZING_BADGES: dict[SizingMethod, tuple[str, str]] = {
    "simulated": ("simulated", "The fleet was simulated. All simulations of this plan took {duration}."),
    "formula": (
        "estimate",
        "The fleet was not simulated, because other offers are cheaper. Its numbers are an analytical estimate.",
    ),
    "measured": ("measured", "The size of the fleet follows from the measured max rate, without a simulation."),
}


def format_badge(state: PlanState, fleet: Fleet | None) -> tuple[str, str]:
    """Return the text and tooltip of the badge, which show how the numbers of a fleet were computed
    and whether a newer result is being computed."""
    if state.plan is None:
        return "", ""
    duration = f"{state.computation_ms:.0f} ms"
    if not state.is_current:
        return "planning…", "The results are out of date and are being updated."
    if state.phase == "simulated":
        if fleet is None or fleet.rejected is not None:
            return "simulated", f"The best offers were simulated in {duration}."
        text, tooltip = _SIZING_BADGES[fleet.sizing_method]
        return text, tooltip.format(duration=duration)
    tooltip = f"The analytical estimate was computed in {duration}. The simulation is running."
    return "estimate", tooltip


def show_badge(badge: Badge, state: PlanState, fleet: Fleet | None) -> None:
    text, tooltip = format_badge(state, fleet)
    badge.show_verdict(text, tooltip)
    is_estimate = fleet is not None and fleet.sizing_method == "formula"
    restyle(badge, "good" if state.is_current and state.phase == "simulated" and not is_estimate else "plain")


def _build_properties(fleet: Fleet, plan: Plan) -> tuple[tuple[str, str], ...]:
    if fleet.rejected is not None:
        return (("Price", format_price(fleet)), ("Price date", format_price_age(fleet)))
    properties = [
        ("Monthly cost", format_usd(fleet.usd_per_month.value)),
        ("P10–P90 of the cost", format_cost_range(fleet.usd_per_month_needed)),
        ("Instances", _format_instances(fleet)),
        ("Risk", format_risk(fleet.risk)),
        ("Probability of meeting SLO", format_slo_probabilities(fleet.slo_probabilities)),
        ("Service model error at SLO", format_percent(fleet.fit_error_at_slo)),
        (format_latency_metric(plan.latency_metric), format_latency(fleet)),
        ("Peak utilization", format_percent(fleet.utilization_at_peak.value)),
        ("Capacity per instance", format_quantity(fleet.capacity_per_instance_per_s.value, "req/s")),
        ("Cost per 1k inferences", format_usd(fleet.usd_per_1k_inferences.value)),
    ]
    properties += _build_token_properties(fleet) + _build_energy_properties(fleet)
    properties += [("Price", format_price(fleet)), ("Price date", format_price_age(fleet))]
    return tuple(properties)


def _format_instances(fleet: Fleet) -> str:
    needed_instances = (fleet.instances or 0) - (fleet.spare_instances or 0)
    return f"{fleet.instances} ({needed_instances} for load, {fleet.spare_instances} spare)"


def _build_token_properties(fleet: Fleet) -> list[tuple[str, str]]:
    costs = fleet.per_1m_tokens
    if costs is None:
        return []
    named_costs = (
        ("Cost per 1M tokens", costs.all),
        ("Cost per 1M input tokens", costs.input),
        ("Cost per 1M uncached input tokens", costs.uncached_input),
        ("Cost per 1M cached input tokens", costs.cached_input),
        ("Cost per 1M output tokens", costs.output),
    )
    return [(name, format_usd(cost.at_mean)) for name, cost in named_costs if cost is not None]


def _build_energy_properties(fleet: Fleet) -> list[tuple[str, str]]:
    rows = (("Energy", fleet.kwh_per_month, "kWh/month"), ("Carbon", fleet.kg_co2e_per_month, "kg CO2e/month"))
    return [
        (name, format_quantity(quantity.value, unit))
        for name, quantity, unit in rows
        if quantity is not None and quantity.value is not None
    ]


def _list_alternatives(plan: Plan) -> tuple[str, ...]:
    sentences = [] if plan.commitment is None else [plan.commitment.sentence]
    sentences += [] if plan.mix is None else [plan.mix.sentence]
    return (*sentences, *plan.break_even)


def _list_savings(plan: Plan) -> tuple[str, ...]:
    template = "{change} ({basis}): saves {saved}/month"
    return tuple(
        sentence(
            template.format(change=saving.change, basis=saving.basis, saved=format_usd(saving.saved_usd_per_month))
        )
        for saving in plan.savings
        if saving.saved_usd_per_month is not None and saving.saved_usd_per_month > 0
    )


def _format_relaxation(relaxation: Relaxation) -> str:
    if relaxation.slo:
        return "Relax SLO to {slo}".format(slo=", ".join(map(format_objective, relaxation.slo)))
    key, _, value = relaxation.changes[0].partition("=")
    return "Set {key} to {value}".format(key=key.partition(".")[2].replace("_", " "), value=value)
