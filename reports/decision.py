"""First screen of a report: the decision, its cost, the probability that the SLO is met, the level
of evidence, and the caveats."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from reports import formatting
from reports.evidence import EvidenceLevel, grade_evidence
from reports.model import HeadlineTile, Report
from reports.plan_section import OfferRow, PlanSection
from reports.quantity import Basis, CheckRow, Quantity, Validity


class Decision(msgspec.Struct, frozen=True):
    """First lines of a report. `level` is the level of evidence, `None` if there is no result to
    grade."""

    headline: str
    sentence: str
    level: EvidenceLevel | None = None
    based_on: str = ""
    details: tuple[str, ...] = ()

    @property
    def evidence(self) -> str:
        """Level of evidence with its basis, as display text; empty without a level."""
        return "" if self.level is None else f"Evidence: {self.level}. {self.based_on}"

    @property
    def lines(self) -> list[str]:
        return [line for line in (self.headline, self.sentence, self.evidence, "; ".join(self.details)) if line]


def decide_plan(plan: PlanSection) -> Decision:
    """Build the decision of a plan."""
    row = plan.recommended_row
    peak = formatting.with_unit(formatting.format_number(plan.peak_per_s), "req/s")
    slo = ", ".join(plan.slo_labels or plan.slo)
    if row is None or row.instances is None:
        return Decision(f"No offer fits a peak of {peak}", f"None meets {slo} within the limits of the plan.")
    chance = f"; P(SLO met) {formatting.NOT_AVAILABLE}"
    if row.slo_probabilities is not None:
        chance = f" with {formatting.format_probability(row.slo_probabilities.planned)} probability"
    return Decision(
        f"{formatting.format_count(row.instances)} × {instance_name(row)}, "
        f"{formatting.format_value_unit(row.usd_per_month)}",
        f"Serves {peak} within {slo}{chance}.",
        grade_evidence(
            row.basis,
            plan.source.validity if plan.source else None,
            plan.capacity_knowledge.state if plan.capacity_knowledge else None,
        ),
        _plan_basis(plan, row),
        tuple(_details(row)),
    )


def leads_with_plan(report: Report) -> bool:
    """Return whether the report of a run begins with its plan: it has a plan, and the run is not
    INVALID."""
    return report.plan is not None and report.verdict.outcome != "INVALID"


def decide_run(report: Report) -> Decision:
    """Build the headline and evidence of a run from its measurement, ignoring its plan."""
    verdict = report.verdict
    headline = verdict.headline or verdict.sentence
    if not any(tile.quantity.value is not None for tile in report.tiles):
        return Decision(headline, verdict.detail)
    max_rate = report.max_rate.per_s if report.max_rate else None
    basis = max_rate.basis if max_rate else "measured"
    location = f" on {report.header.hardware}" if report.header.hardware else ""
    sentences = [f"{basis.capitalize()}{location}: {_extent(report)}.", _VALIDITY_TEXTS[verdict.validity]]
    return Decision(
        headline,
        _interval(max_rate) if max_rate else "",
        grade_evidence(basis, verdict.validity),
        " ".join(sentence for sentence in sentences if sentence),
        (verdict.detail,) if verdict.detail else (),
    )


def _interval(rate: Quantity) -> str:
    """Return the confidence interval of the max rate, or the reason why it is missing; empty
    without a max rate."""
    interval = formatting.format_interval(rate)
    if interval is None:
        return "" if rate.value is None or not rate.reason else f"{rate.reason[:1].upper()}{rate.reason[1:]}."
    return f"95{formatting.THIN}% CI: {formatting.with_unit(interval, formatting.display_unit(rate))}."


def _extent(report: Report) -> str:
    """Return how much was measured: the number of stages and requests, or of variants and calls."""
    if report.local is not None:
        calls = sum(row.calls for variant in report.local.variants for row in variant.scenarios)
        measured = [variant for variant in report.local.variants if variant.scenarios]
        return f"{formatting.format_count_noun(len(measured), 'variant')}, {formatting.format_count(calls)} calls"
    stages = [row for row in report.stages if row.kind != "warmup" and not row.pooled]
    requests = sum(row.completed + row.failed for row in stages)
    stages_text = formatting.format_count_noun(len(stages), "stage")
    return f"{stages_text}, {formatting.format_count_noun(requests, 'request')}"


def list_warnings(report: Report) -> list[CheckRow]:
    """Return the checks of the run and of its plan that are not VALID."""
    checks = (*report.checks, *(report.plan.checks if report.plan else ()))
    return [check for check in checks if check.verdict != "VALID"]


def summarize_caveats(checks: list[CheckRow], notes: int = 0) -> str:
    """Return the number of caveats and the names of the checks, such as
    `3 caveats: step duration, price age, 1 note`; empty if there are no caveats."""
    noted = [formatting.format_count_noun(notes, "note")] if notes else []
    if not checks:
        return "".join(noted)
    names = [*dict.fromkeys(check.name for check in checks), *noted]
    return f"{formatting.format_count_noun(len(checks) + notes, 'caveat')}: {', '.join(names)}"


def instance_name(row: OfferRow) -> str:
    """Return the instance type of an offer; reports of older versions have only the name of the
    offer."""
    return row.instance_type or row.offer


def _details(row: OfferRow) -> Iterator[str]:
    if row.provider:
        yield f"{row.provider}, {row.region}" if row.region else row.provider
    spare = row.spare or 0
    spares = f"{formatting.format_count(spare)} spare" if spare else "no spare"
    yield f"{formatting.format_count((row.instances or 0) - spare)} for the load, {spares}"
    if (needed := row.usd_per_month_needed) is not None:
        yield f"${formatting.format_money(needed.p10)}–{formatting.format_money(needed.p90)}/month (P10–P90)"
    elif (interval := formatting.format_interval(row.usd_per_month)) is not None:
        yield f"${interval}/month (95{formatting.THIN}% CI)"
    if row.usd_per_1k.value is not None:
        yield f"{formatting.format_quantity(row.usd_per_1k)} per 1k inferences"


def tiles_beside_decision(report: Report) -> list[HeadlineTile]:
    """Return the headline tiles of a run, without the cost tiles if the decision already states the
    cost."""
    tiles = formatting.display_tiles(report)
    is_stated = leads_with_plan(report) and report.plan is not None and report.plan.recommendation is not None
    return [tile for tile in tiles if not (is_stated and tile.quantity.unit.startswith("USD"))]


def _plan_basis(plan: PlanSection, row: OfferRow) -> str:
    hardware = plan.source.hardware if plan.source else "the measured hardware"
    texts: dict[Basis, str] = {
        "measured": f"Measured on {hardware}.",
        "interpolated": f"Interpolated between loads measured on {hardware}.",
        "extrapolated": f"Extrapolated from {hardware}, not measured on {instance_name(row)}.",
        "assumed": f"Assumed, not measured on {instance_name(row)}.",
    }
    sentences = [texts[row.basis], _VALIDITY_TEXTS[plan.source.validity or "VALID"] if plan.source else ""]
    sentences += ["The capacity is not known well enough."] if plan.capacity_knowledge else []
    return " ".join(sentence for sentence in sentences if sentence)


_VALIDITY_TEXTS: dict[Validity, str] = {
    "VALID": "", "WARN": "The measurement has warnings.", "INVALID": "The measurement is invalid.",
}  # fmt: skip
