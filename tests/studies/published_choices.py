"""Which published configuration of a GPU type and a model has the most tokens per second and GPU within a limit on
TPOT, and which one a model chooses that was not fitted to that GPU type or model.

A question is a GPU type, a language model, and lengths, with at least `MIN_CONFIGURATIONS` published points (engine,
precision, layout and number of clients) whose TPOT is within the limit. The model chooses the point with the highest
predicted rate among those whose predicted TPOT is within the limit. The choice is right if its measured TPOT is within
the limit and its measured rate at most 10 % below the highest one.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from app.planning.step_times.estimate import LatencyEstimate
from app.planning.step_times.positive_sum import Floats, Indices
from app.planning.step_times.published import PublishedLoops

TPOT_LIMITS_MS = (20.0, 40.0, 80.0)
MIN_CONFIGURATIONS = 5
SHOWN = 3
_MIN_SHARE = 0.9


@dataclasses.dataclass(frozen=True)
class Choices:
    """Numbers of questions, of right first choices, and of questions with a right choice among the first `SHOWN`."""

    questions: int
    right_first: int
    right_shown: int


def evaluate_choices(published: PublishedLoops, estimate: LatencyEstimate) -> Choices:
    measured = _compute_rates(published, published.tpot_s, published.ttft_s)
    predicted = _compute_rates(published, estimate.p50["tpot"], estimate.p50["ttft"])
    questions = right_first = right_shown = 0
    for limit_s, rows in _list_questions(published):
        within = published.tpot_s[rows] <= limit_s
        if within.sum() < MIN_CONFIGURATIONS:
            continue
        questions += 1
        best = measured[rows][within].max()
        is_right = within & (measured[rows] >= _MIN_SHARE * best)
        candidates = np.flatnonzero(estimate.p50["tpot"][rows] <= limit_s)
        ranked = candidates[np.argsort(-predicted[rows][candidates])]
        right_first += bool(is_right[ranked[:1]].any())
        right_shown += bool(is_right[ranked[:SHOWN]].any())
    return Choices(questions, right_first, right_shown)


def _compute_rates(published: PublishedLoops, tpot_s: Floats, ttft_s: Floats) -> Floats:
    """Return the output tokens per second and GPU."""
    loops = published.loops
    response_s = ttft_s + (loops.output_tokens - 1) * tpot_s
    return np.asarray(loops.clients * loops.output_tokens / response_s / loops.servers.accelerators)


def _list_questions(published: PublishedLoops) -> Iterator[tuple[float, Indices]]:
    rows = defaultdict(list)
    for index, point in enumerate(published.points):
        served = point.served
        rows[served.accelerator, served.model, point.input_tokens, point.output_tokens].append(index)
    for limit_ms in TPOT_LIMITS_MS:
        for indices in rows.values():
            yield limit_ms / 1000, np.array(indices, dtype=np.intp)
