"""Build the first screen of a report: the decision, its cost, the probability that the SLO is met,
the level of evidence, and the caveats."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from reports import formatting
from reports.evidence import EvidenceLevel, grade_evidence
from reports.model import HeadlineTile, Report
from reports.plan_section import OfferRow, PlanSection
from reports.quantity import Basis, CheckRow, Quantity, Validity


class Decision(msgspec.Struct, frozen=True):
    """First lines of a report. `level` is the level of evidence; `None` if there is no result."""

    headline: str
    sentence: str
    level: EvidenceLevel | None = None
    basis_text: str = ""
    details: tuple[str, ...] = ()

    @property
    def evidence(self) -> str:
        """Display text of the level of evidence and its basis; empty without a level."""
        return "" if self.level is None else f"Evidence: {self.level}. {self.basis_text}"

    @property
    def lines(self) -> list[str]:
        return [line for line in (self.headline, self.sentence, self.evidence, "; ".join(self.details)) if line]


def build_plan_decision(plan: PlanSection) -> Decision:
    """Build the first lines of the report of a plan."""
    recommended_row = plan.recommended_row
    peak_text = formatting.with_unit(formatting.format_number(plan.peak_per_s), "req/s")
    slo_text = ", ".join(formatting.keep_limit_together(label) for label in plan.slo_labels or plan.slo)
    if recommended_row is None or recommended_row.instances is None:
        return Decision(
            f"No offer sustains a peak of {peak_text}", f"No offer meets {slo_text} within the limits of the plan."
        )
    probability_text = f"; P(SLO met) is {formatting.NOT_AVAILABLE}"
    if recommended_row.slo_probabilities is not None:
        probability_text = (
            f" with {formatting.format_probability(recommended_row.slo_probabilities.planned)} probability"
        )
    return Decision(
        f"{formatting.format_count(recommended_row.instances)} × {get_instance_name(recommended_row)}, "
        f"{formatting.format_value_unit(recommended_row.usd_per_month)}",
        f"Serves {peak_text} within {slo_text}{probability_text}.",
        grade_evidence(
            recommended_row.basis,
            plan.source.validity if plan.source else None,
            plan.capacity_knowledge.state if plan.capacity_knowledge else None,
        ),
        _describe_plan_basis(plan, recommended_row),
        tuple(_list_details(recommended_row)),
    )


def leads_with_plan(report: Report) -> bool:
    """Return True if the report of a run begins with its plan: the run has a plan, is not INVALID
    and did not fail. Otherwise, the finding comes first."""
    return report.plan is not None and report.verdict.outcome not in ("INVALID", "FAIL")


def build_run_decision(report: Report) -> Decision:
    """Build the first lines of the report of a run from its measurement, ignoring its plan."""
    verdict = report.verdict
    headline = verdict.headline or verdict.sentence
    if not any(tile.quantity.value is not None for tile in report.tiles):
        return Decision(headline, verdict.detail)
    max_rate = report.max_rate.per_s if report.max_rate else None
    basis = max_rate.basis if max_rate else "measured"
    location = f" on {report.header.hardware}" if report.header.hardware else ""
    sentences = [
        f"The result is {basis}{location}, with {_describe_extent(report)}.",
        _VALIDITY_TEXTS[verdict.validity],
        "It has too few samples for the latency percentiles." if (is_undersampled := _is_undersampled(report)) else "",
    ]
    return Decision(
        headline,
        _describe_interval(max_rate) if max_rate else "",
        grade_evidence(basis, verdict.validity, is_undersampled=is_undersampled),
        " ".join(sentence for sentence in sentences if sentence),
        (verdict.detail,) if verdict.detail else (),
    )


def _is_undersampled(report: Report) -> bool:
    """Return True if headline tiles show latency percentiles, and each needs more samples."""
    quantities = [tile.quantity for tile in report.tiles]
    units = {quantity.unit for quantity in quantities if quantity.is_undersampled}
    return bool(units) and not any(quantity.value is not None and quantity.unit in units for quantity in quantities)


def _describe_interval(rate: Quantity) -> str:
    """Return the confidence interval of the max rate as a sentence, or the reason why there is
    none; empty without a max rate."""
    interval_text = formatting.format_interval(rate)
    if interval_text is None:
        return "" if rate.value is None or not rate.reason else f"{rate.reason[:1].upper()}{rate.reason[1:]}."
    return f"The 95{formatting.THIN_SPACE}% CI is {formatting.with_unit(interval_text, formatting.display_unit(rate))}."


def _describe_extent(report: Report) -> str:
    """Describe how much was measured: the number of stages and requests, or of variants and of
    calls or repetitions of tests."""
    if report.local is not None:
        measured_variants = [variant for variant in report.local.variants if variant.is_measured]
        variants_text = formatting.format_count_noun(len(measured_variants), "variant")
        if report.local.is_language_model:
            repetition_count = sum(row.repetitions for variant in measured_variants for row in variant.tests)
            return f"{variants_text} and {formatting.format_count(repetition_count)} repetitions of tests"
        call_count = sum(row.calls for variant in measured_variants for row in variant.scenarios)
        return f"{variants_text} and {formatting.format_count(call_count)} calls"
    stages = [row for row in report.stages if row.kind != "warmup" and not row.pooled]
    request_count = sum(row.completed + row.failed for row in stages)
    stages_text = formatting.format_count_noun(len(stages), "stage")
    return f"{stages_text} and {formatting.format_count_noun(request_count, 'request')}"


def list_warnings(report: Report) -> list[CheckRow]:
    """Return the checks of the run and of its plan whose verdict is not VALID."""
    checks = (*report.checks, *(report.plan.checks if report.plan else ()))
    return [check for check in checks if check.verdict != "VALID"]


def summarize_caveats(checks: list[CheckRow], note_count: int = 0) -> str:
    """Return the number of caveats and the names of the checks, such as
    `3 caveats: step duration, price age, 1 note`; empty if there are no caveats."""
    note_texts = [formatting.format_count_noun(note_count, "note")] if note_count else []
    if not checks:
        return "".join(note_texts)
    names = [*dict.fromkeys(check.name for check in checks), *note_texts]
    return f"{formatting.format_count_noun(len(checks) + note_count, 'caveat')}: {', '.join(names)}"


def get_instance_name(row: OfferRow) -> str:
    """Return the provider and the instance type of an offer, such as `aws/g6.xlarge`. Reports of
    older versions contain neither; in that case, return the name of the offer."""
    return f"{row.provider}/{row.instance_type}" if row.provider and row.instance_type else row.offer


def _list_details(row: OfferRow) -> Iterator[str]:
    if row.provider:
        yield f"{row.provider}, {row.region}" if row.region else row.provider
    spare_count = row.spare or 0
    spare_text = f"{formatting.format_count(spare_count)} spare" if spare_count else "no spare"
    load_count = (row.instances or 0) - spare_count
    yield f"{formatting.format_count_noun(load_count, 'instance')} for the load, {spare_text}"
    if (cost_range := row.usd_per_month_needed) is not None:
        yield f"${formatting.format_money(cost_range.p10)}–{formatting.format_money(cost_range.p90)}/month (P10–P90)"
    elif (interval := formatting.format_interval(row.usd_per_month)) is not None:
        yield f"${interval}/month (95{formatting.THIN_SPACE}% CI)"
    if row.usd_per_1k.value is not None:
        yield f"{formatting.format_quantity(row.usd_per_1k)} per 1k inferences"


def display_tiles(report: Report) -> list[HeadlineTile]:
    """Return the headline tiles for display. The throughput of a local model has the unit
    inferences/s instead of 1/s."""
    is_model_only = report.local is not None
    return [
        msgspec.structs.replace(tile, quantity=msgspec.structs.replace(tile.quantity, unit="inferences/s"))
        if is_model_only and tile.quantity.unit == "1/s"
        else tile
        for tile in report.tiles
    ]


def select_tiles_beside_decision(report: Report) -> list[HeadlineTile]:
    """Return the headline tiles of a run. Cost tiles are omitted if the decision already states the
    cost."""
    tiles = display_tiles(report)
    is_cost_stated = leads_with_plan(report) and report.plan is not None and report.plan.recommendation is not None
    return [tile for tile in tiles if not (is_cost_stated and tile.quantity.unit.startswith("USD"))]


def _describe_plan_basis(plan: PlanSection, row: OfferRow) -> str:
    hardware = plan.source.hardware if plan.source else "the measured hardware"
    basis_texts: dict[Basis, str] = {
        "measured": f"The capacity was measured on {hardware}.",
        "interpolated": f"The capacity was interpolated between loads measured on {hardware}.",
        "extrapolated": f"The capacity was extrapolated from {hardware}, not measured on {get_instance_name(row)}.",
        "assumed": f"The capacity is assumed, not measured on {get_instance_name(row)}.",
    }
    sentences = [basis_texts[row.basis], _VALIDITY_TEXTS[plan.source.validity or "VALID"] if plan.source else ""]
    sentences += ["The capacity is too uncertain to size a fleet with confidence."] if plan.capacity_knowledge else []
    return " ".join(sentence for sentence in sentences if sentence)


_VALIDITY_TEXTS: dict[Validity, str] = {
    "VALID": "", "WARN": "The measurement has warnings.", "INVALID": "The measurement is invalid.",
}  # fmt: skip
