"""Repeats of one rate judged together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pandas as pd
from msgspec.structs import replace

from app.analysis.stages import summarise_stage
from app.records.result import Objective, Stage, Window
from app.records.stage import StageFacts

_TIMES = ("intended_ns", "sent_ns", "first_byte_ns", "end_ns")


def pool_stages(
    rows: Sequence[pd.DataFrame], telemetry: pd.DataFrame, facts: Sequence[StageFacts], slo: Sequence[Objective]
) -> Stage:
    """One stage of several that had the same rate, as if each had begun when the one before it stopped offering.

    All are of one rate and in the order run; `rows` are of each. The window spans them all, pauses too.
    """
    first, last = facts[0], facts[-1]
    starts_ns = [first.start_ns + round(s * 1e9) for s in accumulate([0.0, *(one.duration_s for one in facts)])]
    shifts_ns = [start_ns - one.start_ns for start_ns, one in zip(starts_ns, facts, strict=False)]
    together = replace(
        first,
        name=f"{len(facts)} holds at {first.rate_per_s:.4g}/s",
        repeat=1,
        tags={**first.tags, "pooled": str(len(facts))},
        duration_s=sum(one.duration_s for one in facts),
        end_ns=first.start_ns + sum(one.end_ns - one.start_ns for one in facts),
        worker_cpu_s=sum(one.worker_cpu_s for one in facts),
        connections_opened=sum(one.connections_opened for one in facts),
    )
    moved = pd.concat([_moved(one, shift, _TIMES) for one, shift in zip(rows, shifts_ns, strict=True)])
    readings = pd.concat(
        [_moved(_during(telemetry, one), shift, ("at_ns",)) for one, shift in zip(facts, shifts_ns, strict=True)]
    )
    stage = summarise_stage(moved, readings, together, slo)
    return replace(stage, window=Window(first.start_ns, last.start_ns + round(last.duration_s * 1e9)))


def _during(telemetry: pd.DataFrame, facts: StageFacts) -> pd.DataFrame:
    end_ns = facts.start_ns + round(facts.duration_s * 1e9)
    return telemetry[telemetry["at_ns"].between(facts.start_ns, end_ns, inclusive="left")]


def _moved(frame: pd.DataFrame, shift_ns: int, columns: Sequence[str]) -> pd.DataFrame:
    return frame.assign(**{column: frame[column] + shift_ns for column in columns})
