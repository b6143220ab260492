"""A stored run with its facts in memory, so that it can be judged again and again by another SLO or window."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from app.analysis.objectives import parse_objective
from app.analysis.rescored_variants import rescore_variants
from app.analysis.rescoring import RunFacts, rescore
from app.analysis.rows import StageRows, joined, read_rows
from app.errors import ProfileError, UsageError
from app.profiles.document import read_document
from app.records.events import Event, Noted, PhaseChanged, StageFinished
from app.records.result import Objective, Result, Window
from app.records.stage import StageFacts
from app.reporting.recovery import Recovery, recovered_result
from app.reporting.report import build_report
from app.reporting.stored import COMMAND
from app.storage.labels import read_labels
from app.storage.run_directory import StoredRun
from reports.model import Report

_NOT_READ = ("reused", "worker")
_LOCAL_WINDOW = "a local run's numbers are each of a whole scenario, so there is no window of it to judge"


@dataclass(frozen=True)
class OpenedRun:
    """`table` are all rows, in the order stored. `recovery` is None where the run ended by itself."""

    directory: Path
    facts: RunFacts
    table: pa.Table
    spec_text: str
    result_text: str
    recovery: Recovery | None = None
    noted: tuple[tuple[float, str], ...] = ()
    """While the run went on: seconds from its start, and what was written."""

    @property
    def result(self) -> Result:
        """The run's own."""
        return self.facts.result

    @cached_property
    def rows(self) -> StageRows | None:
        """Of all stages by their intended start, without the chunks of streams; None where nothing was asked."""
        parts = [_without_chunks(one) for one in self.facts.rows if one.intended_ns.size]
        rest = self._unfinished
        return joined([*parts, *rest]) if parts or rest else None

    @property
    def _unfinished(self) -> list[StageRows]:
        """Of a stage that was cut off with its engine: it has no facts, and its rows are drawn all the same."""
        if self.table.num_rows == sum(one.intended_ns.size for one in self.facts.rows):
            return []
        known = pa.array([one.index for one in self.facts.facts], pa.int32())
        left = self.table.filter(pa.compute.invert(pa.compute.is_in(self.table["stage"], value_set=known)))
        return [_without_chunks(read_rows(left))]

    def rescored(self, slo: Sequence[str] | None = None, window_s: tuple[float, float] | None = None) -> Result:
        """Judged by another SLO, or by what was intended within seconds from the start of the run; with neither, as the
        run itself. Raises UsageError for what is no objective or no window, and where the run cannot be judged so."""
        objectives = None if slo is None else tuple(map(parse_objective, slo))
        if self.result.local is not None:
            if window_s is not None:
                raise UsageError(_LOCAL_WINDOW, hint="Leave out --from and --to.")
            return self.result if objectives is None else rescore_variants(self.result, objectives)
        if window_s is not None:
            self._refuse_empty(window_s)
        return rescore(self.facts, objectives, window_s)

    def report(self, result: Result | None = None) -> Report:
        """Of the run, or of what `rescored` gave."""
        shown = self.result if result is None else result
        stamp = shown.rescored
        rows = self.rows if stamp is None or stamp.window_s is None else self._within(stamp.window_s)
        text = self.result_text if shown is self.result else msgspec.json.encode(shown).decode()
        return build_report(
            shown,
            self.table if rows is not None else self.table.slice(0, 0),
            self._telemetry_within(None if stamp is None else stamp.window_s),
            self.spec_text,
            COMMAND,
            text,
            read_labels(self.directory),
            read=rows,
        )

    def why_no_window(self) -> str | None:
        """Why no part of this run's time can be judged; None where it can."""
        return _LOCAL_WINDOW if self.result.local is not None else None

    def _refuse_empty(self, window_s: tuple[float, float]) -> None:
        from_s, to_s = window_s
        if not from_s < to_s:
            raise UsageError(f"a window from {from_s:g} s to {to_s:g} s holds nothing", hint="Give a later end.")
        rows = self._within(window_s)
        if rows is None:
            raise UsageError(
                f"nothing was to be sent from {from_s:g} s to {to_s:g} s of the run",
                hint=f"It went on for {self.result.clock.duration_s:.0f} s.",
            )

    def _within(self, window_s: tuple[float, float]) -> StageRows | None:
        rows = self.rows
        if rows is None:
            return None
        start_ns = self.result.zero_ns
        bounds_ns = [start_ns + round(at * 1e9) for at in window_s]
        first, last = np.searchsorted(rows.intended_ns, bounds_ns)
        inside = np.zeros(rows.intended_ns.size, dtype=bool)
        inside[first:last] = True
        return rows.where(inside) if last > first else None

    def _telemetry_within(self, window_s: tuple[float, float] | None) -> pd.DataFrame:
        telemetry = self.facts.telemetry
        if window_s is None:
            return telemetry
        start_ns = self.result.zero_ns
        first_ns, last_ns = (start_ns + round(at * 1e9) for at in window_s)
        return telemetry[telemetry["at_ns"].between(first_ns, last_ns, inclusive="left")]


def open_facts(run: StoredRun, *, recover: bool = False) -> OpenedRun:
    """All of a run in memory. Raises UsageError for one without a result; with `recover`, only where too little of its
    facts is there to make one of."""
    events, spec_text = run.events(), run.spec_text or ""
    table, telemetry = run.requests(_NOT_READ), run.telemetry().to_pandas()
    finished = [event for event in events if isinstance(event, StageFinished)]
    rows = tuple(_rows_of(table, [event.facts for event in finished]))
    is_lost = recover and run.result is None and not run.is_running and run.finished is None
    recovery = None
    if is_lost:
        result, recovery = recovered_result(run, events, table)
    else:
        result = run.measured
    if result.local is None:  # a part of the run, judged again, counts from the same second 0
        clock = msgspec.structs.replace(result.clock, load_start_ns=result.zero_ns)
        result = msgspec.structs.replace(result, clock=clock)
    facts = RunFacts(
        result=result,
        slo=slo_of(spec_text, result),
        facts=tuple(event.facts for event in finished),
        rows=rows,
        telemetry=telemetry,
        idle=_idle(events),
        is_whole=recovery is None,
    )
    if recovery is not None and result.local is None:
        facts = replace(facts, result=rescore(facts, None, None))
    noted = tuple(_noted(events, facts.result.zero_ns))
    return OpenedRun(run.directory, facts, table, spec_text, run.result_text or "", recovery, noted)


def slo_of(spec_text: str, result: Result) -> tuple[Objective, ...]:
    """As the run's profile has it; as its result tells where that cannot be read."""
    try:
        value = read_document(spec_text.encode(), "spec.yaml").value
        texts = value.get("slo") if isinstance(value, dict) else None
        if isinstance(texts, list):
            return tuple(parse_objective(str(text)) for text in texts)
    except (ProfileError, UsageError):  # written by hand, or of a newer version
        pass
    return tuple(one.objective for one in result.slo if not one.objective.implied)


def _rows_of(table: pa.Table, stages: Sequence[StageFacts]) -> list[StageRows]:
    """The rows of a stage follow each other in the file."""
    places = table["stage"].to_numpy()
    ends = np.flatnonzero(np.diff(places)) + 1
    starts = [0, *ends.tolist()] if places.size else []
    spans = {
        int(places[start]): (start, end) for start, end in zip(starts, [*ends.tolist(), places.size], strict=False)
    }
    found = []
    for facts in stages:
        start, end = spans.get(facts.index, (0, 0))
        found.append(read_rows(table.slice(start, end - start)))
    return found


def _without_chunks(rows: StageRows) -> StageRows:
    """They are most of a stream's rows, and no chart draws them."""
    if rows.tokens is None or rows.tokens.chunks is None:
        return rows
    return replace(rows, tokens=replace(rows.tokens, chunks=None))


def _noted(events: Sequence[Event], start_ns: int) -> Iterator[tuple[float, str]]:
    for event in events:
        if isinstance(event, Noted):
            yield (event.at_ns - start_ns) / 1e9, event.text


def _idle(events: Sequence[Event]) -> Window | None:
    """From the moment that it was told to the next thing told."""
    for event, after in itertools.pairwise(events):
        if isinstance(event, PhaseChanged) and event.phase == "idle":
            return Window(event.at_ns, after.at_ns)
    return None
