"""Why offers were refused, by how many each reason refused."""

from __future__ import annotations

from collections import Counter

from app.records.plan import Plan

_MOST = 5


def reasons_of(plan: Plan) -> tuple[str, ...]:
    """The commonest first. Reasons that differ only in a number or a name are one, given by an example."""
    refusals = [
        ((fleet.rejected_by, fleet.refusal), fleet.rejected) for fleet in plan.offers if fleet.rejected is not None
    ]
    counted = Counter(kind for kind, _ in refusals)
    examples = dict(reversed(refusals))
    said = [
        f"{count} offers: {examples[kind]}" if count > 1 else f"1 offer: {examples[kind]}"
        for kind, count in counted.most_common(_MOST)
    ]
    more = sum(count for _, count in counted.most_common()[_MOST:])
    return (*said, *([f"{more} more, for other reasons"] if more else []))
