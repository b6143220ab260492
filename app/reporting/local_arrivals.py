"""The most arrivals that a variant carries inside the SLO, where a search looked for them."""

from __future__ import annotations

from collections.abc import Sequence

from app.analysis.call_stages import IN_SEARCH
from app.records.local import VariantFacts
from app.records.result import Stage, Trust
from app.reporting.quantities import quantity
from reports import formatting
from reports.model import Quantity


def arrivals_of(facts: VariantFacts, answering: Sequence[Stage]) -> Quantity | None:
    """Calls a second, as trustworthy as the stages that held there; None where nobody searched."""
    if facts.server_per_s is None:
        return None
    held = [stage.verdict.status for stage in answering if IN_SEARCH in stage.tags]
    trust: Trust = "INVALID" if "INVALID" in held else "WARN" if "WARN" in held else "VALID"
    return quantity(facts.server_per_s, "calls/s", trust)


def inferences_words(facts: VariantFacts) -> str:
    """As in `16 rows each: 8,960/s`; nothing of calls of one row."""
    per_s, batch = facts.server_per_s, facts.variant.batch
    if per_s is None or per_s.value is None or batch == 1:
        return ""
    rows = formatting.with_unit(formatting.number(per_s.value * batch), "/s")
    return f"{formatting.count(batch)} rows each: {rows}"
