"""Why offers were refused, by how many each reason refused."""

from __future__ import annotations

import re
from collections import Counter

from app.gui.words import tr
from app.records.plan import Plan

_NUMBER = re.compile(r"\d[\d.,]*")
_MOST = 5


def reasons_of(plan: Plan) -> tuple[str, ...]:
    """The commonest first. Reasons that differ in a number, or in whom they name, are one, told by an example."""
    refusals = [(_kind(fleet.rejected), fleet.rejected) for fleet in plan.offers if fleet.rejected is not None]
    counted = Counter(kind for kind, _ in refusals)
    examples = dict(reversed(refusals))
    said = [
        tr("{count} offers: {example}").format(count=count, example=examples[kind])
        if count > 1
        else tr("1 offer: {example}").format(example=examples[kind])
        for kind, count in counted.most_common(_MOST)
    ]
    more = sum(count for _, count in counted.most_common()[_MOST:])
    return (*said, *([tr("{count} more, for other reasons").format(count=more)] if more else []))


def _kind(sentence: str) -> str:
    limit = re.search(r"plan\.\w+", sentence)
    return limit.group() if limit else _NUMBER.sub("#", sentence)
