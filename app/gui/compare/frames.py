"""A comparison's tables: what differs around the runs, what changed, and how that is spread over the stages."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from app.gui.compare.outcome import Outcome
from app.gui.formatting import NOT_AVAILABLE, State, value_unit
from reports import formatting
from reports.comparison_section import ChangeRow, ComparisonSection
from reports.comparison_text import change, effect, remark

_VERDICTS: dict[object, State] = {"better": "good", "worse": "bad", "inconclusive": "warn", "same": "plain"}
_OUTCOMES: dict[str, State] = {"regression": "bad", "inconclusive": "warn", "no_regression": "good"}
FORBIDS = "NOT COMPARABLE"


def verdict_state(verdict: object) -> State:
    return _VERDICTS.get(verdict, "plain")


def forbidding_state(word: object) -> State:
    return "bad" if word == FORBIDS else "plain"


DIFFERENCE_HEADERS = {
    "name": "Around the runs",
    "so": "So",
    "base": "Baseline",
    "candidate": "Candidate",
}


def differences_frame(section: ComparisonSection) -> pd.DataFrame:
    rows = section.differences
    return pd.DataFrame(
        {
            "name": [row.name for row in rows],
            "so": [FORBIDS if row.forbids else "told" for row in rows],
            "base": [row.base for row in rows],
            "candidate": [row.candidate for row in rows],
        }
    )


CHANGE_HEADERS = {
    "verdict": "Verdict",
    "metric": "Metric",
    "stage": "Stage",
    "base": "Baseline",
    "candidate": "Candidate",
    "change": "Change (95 %)",
    "p": "p",
    "remark": "What would tell",
}


def changes_frame(section: ComparisonSection, *, only_headlines: bool, stage: str | None) -> pd.DataFrame:
    rows = [row for row in section.rows if (row.is_headline or not only_headlines) and stage in (None, row.stage)]
    return pd.DataFrame(
        {
            "verdict": [row.verdict for row in rows],
            "metric": [row.metric for row in rows],
            "stage": [row.stage for row in rows],
            "base": [value_unit(row.base) for row in rows],
            "candidate": [value_unit(row.candidate) for row in rows],
            "change": [effect(row.ratio) for row in rows],
            "p": [NOT_AVAILABLE if row.p_value is None else formatting.p_value(row.p_value) for row in rows],
            "remark": [remark(row) for row in rows],
        }
    )


def stages_of(section: ComparisonSection) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.stage for row in section.rows))


def by_stage(section: ComparisonSection) -> tuple[pd.DataFrame, dict[str, list[State]]]:
    """A row for each stage and a column for each metric that counts somewhere: verdict and change, and their state."""
    metrics = tuple(dict.fromkeys(row.metric for row in section.rows if row.is_headline))
    rows: dict[tuple[str, str], ChangeRow] = {}
    for row in section.rows:
        rows.setdefault((row.stage, row.metric), row)
    stages = [stage for stage in stages_of(section) if any((stage, metric) in rows for metric in metrics)]
    columns = {metric: [rows.get((stage, metric)) for stage in stages] for metric in metrics}
    texts = {metric: [_cell(row) for row in column] for metric, column in columns.items()}
    states = {metric: [verdict_state(row and row.verdict) for row in column] for metric, column in columns.items()}
    return pd.DataFrame({"stage": stages, **texts}), states


def verdict_words(outcome: Outcome) -> tuple[str, State]:
    """The outcome in a word or two, and its state."""
    section = outcome.section
    if section is None or not section.rows:
        return (FORBIDS, "bad") if outcome.forbidding else ("", "plain")
    return section.outcome_word, _OUTCOMES.get(section.outcome, "plain")


def notes_text(notes: Sequence[str]) -> str:
    return "\n".join(notes[:12])


def _cell(row: ChangeRow | None) -> str:
    if row is None:
        return NOT_AVAILABLE
    return row.verdict if row.ratio.value is None else f"{row.verdict} {change(row.ratio.value)}"
