"""A stored run with its facts in memory, so that it can be judged again and again by another SLO or window."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from app.analysis.local.variants import rescore_variants
from app.analysis.objectives import parse_objective
from app.analysis.rescoring import RunFacts, rescore
from app.analysis.rows import StageRows, joined, read_rows
from app.errors import DamagedError, ProfileError, UsageError
from app.profiles.document import read_document
from app.records.events import CallsFinished, Event, Noted, PhaseChanged, RunFinished, RunStarted, StageFinished
from app.records.result import Objective, Result, Stage, Window
from app.records.stage import StageFacts
from app.reporting.recovery import RecoveredData, marked_damaged, recovered_result
from app.reporting.report import build_report
from app.reporting.stored import COMMAND
from app.storage.labels import read_labels
from app.storage.names import ENVIRONMENT, EVENTS, REQUESTS, RESULT, SPEC, TELEMETRY
from app.storage.run_directory import StoredRun
from app.storage.seals import Damage, damaged_error
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
    recovery: RecoveredData | None = None
    damage: tuple[Damage, ...] = ()
    """Files that are not what they were when the run ended; what is whole of the run was used."""
    unverified: tuple[str, ...] = ()
    """Files that have no checksum."""
    noted: tuple[tuple[float, str], ...] = ()
    """While the run went on: seconds from its start, and what was written."""

    @cached_property
    def result(self) -> Result:
        """The run's own, INVALID where files of it are damaged."""
        return marked_damaged(self.facts.result, self.damage) if self.damage else self.facts.result

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
        if self.damage and objectives is None and window_s is None:
            return self.result
        if self.result.local is not None:
            if window_s is not None:
                raise UsageError(_LOCAL_WINDOW, hint="Leave out --from and --to.")
            return self.result if objectives is None else rescore_variants(self.result, objectives)
        self._refuse_other_events()
        facts = self._facts_with_rows() if self.damage else self.facts
        if window_s is not None:
            self._refuse_empty(window_s)
        return rescore(facts, objectives, window_s)

    def _facts_with_rows(self) -> RunFacts:
        """Of the stages whose rows are all there. Raises DamagedError where there is none but a warm-up."""
        is_whole = [
            rows.intended_ns.size >= _least_rows(stage)
            for stage, rows in zip(self._stages, self.facts.rows, strict=True)
        ]
        if all(stage.kind == "warmup" for stage in itertools.compress(self._stages, is_whole)):
            files = "; ".join(one.text for one in self.damage)
            raise DamagedError(
                f"{self.directory} is DAMAGED: {files}. "
                "No stage but a warm-up has all its rows, so none can be evaluated again",
                hint="Restore its files from a copy, or leave out --slo, --from and --to.",
            )
        left_out = [stage.name for stage, has_rows in zip(self._stages, is_whole, strict=True) if not has_rows]
        whole = msgspec.structs.replace(self.facts.result, stages=tuple(itertools.compress(self._stages, is_whole)))
        return replace(
            self.facts,
            result=marked_damaged(whole, self.damage, left_out),
            facts=tuple(itertools.compress(self.facts.facts, is_whole)),
            rows=tuple(itertools.compress(self.facts.rows, is_whole)),
            is_whole=self.facts.is_whole and all(is_whole),
        )

    def report(self, result: Result | None = None) -> Report:
        """Of the run, or of what `rescored` gave."""
        shown = self.result if result is None else result
        stamp = shown.rescored
        rows = self.rows if stamp is None or stamp.window_s is None else self._within(stamp.window_s)
        is_stored = shown is self.result and not self.damage
        text = self.result_text if is_stored else msgspec.json.encode(shown).decode()
        return build_report(
            shown,
            self.table if rows is not None else self.table.slice(0, 0),
            self._telemetry_within(None if stamp is None else stamp.window_s),
            self.spec_text,
            COMMAND,
            text,
            read_labels(self.directory),
            read=rows,
            unverified=self.unverified,
        )

    def why_no_window(self) -> str | None:
        """Why no part of this run's time can be judged; None where it can."""
        return _LOCAL_WINDOW if self.result.local is not None else None

    @property
    def _stages(self) -> list[Stage]:
        return [one for one in self.facts.result.stages if one.variant is None and not one.is_pooled]

    def _refuse_other_events(self) -> None:
        if len(self._stages) != len(self.facts.facts):
            told = f"{EVENTS} has the end of {len(self.facts.facts)} stages, and {RESULT} has {len(self._stages)}"
            raise DamagedError(f"{self.directory} is DAMAGED: {told}", hint="Restore its files from a copy.")

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
    """All of a run in memory. Raises UsageError for one without a result, and DamagedError for one whose files are not
    what they were. With `recover` what is whole is used, and an error is raised only where too little of it is there;
    the result then is INVALID and says what is damaged."""
    damage = run.damage
    if damage and not recover:
        raise damaged_error(run.directory, damage)
    bad = {one.path: one for one in damage}
    events = tuple(run.events(_whole_bytes(bad, EVENTS)))
    spec_text = "" if SPEC in bad else run.spec_text or ""
    finished = [event for event in events if isinstance(event, StageFinished)]
    is_lost = RESULT in bad or (recover and not (run.directory / RESULT).exists() and _is_cut_short(run, events))
    table, lost = _table(run, bad, finished) if damage or is_lost else (run.requests(_NOT_READ), ())
    damage = (*damage, *(one for one in lost if one.path not in bad))
    recovery = None
    if is_lost:
        if damage and (ENVIRONMENT in bad or not any(isinstance(one, StageFinished | CallsFinished) for one in events)):
            raise damaged_error(run.directory, damage)
        result, recovery = recovered_result(run, events, table)
    elif damage:
        result = run.unverified_result or run.measured
    else:
        result = run.measured
    if result.local is None:  # a part of the run, judged again, counts from the same second 0
        clock = msgspec.structs.replace(result.clock, load_start_ns=result.zero_ns)
        result = msgspec.structs.replace(result, clock=clock)
    facts = RunFacts(
        result=result,
        slo=(() if recovery is None else _slo_begun_with(events)) or slo_of(spec_text, result),
        facts=tuple(event.facts for event in finished),
        rows=tuple(_rows_of(table, [event.facts for event in finished])),
        telemetry=_telemetry(run, bad, is_lost=is_lost).to_pandas(),
        idle=_idle(events),
        is_whole=recovery is None,
    )
    if recovery is not None and result.local is None and not damage:
        rescored = rescore(facts, None, None)
        if _is_as_reported(rescored, finished):
            facts = replace(facts, result=rescored)
        else:
            damage = (Damage(REQUESTS, "changed"),)
    noted = tuple(_noted(events, facts.result.zero_ns))
    text = "" if damage else run.result_text or ""
    return OpenedRun(run.directory, facts, table, spec_text, text, recovery, damage, run.unverified, noted)


def _whole_bytes(bad: Mapping[str, Damage], name: str) -> int | None:
    """What is used of a file, from its beginning; None for all. Of one whose content changed nobody knows where,
    nothing is used."""
    if (known := bad.get(name)) is None:
        return None
    if known.whole_bytes is None and known.problem != "cut off":
        return 0
    return known.whole_bytes


def _is_cut_short(run: StoredRun, events: Sequence[Event]) -> bool:
    return not run.is_written and not any(isinstance(event, RunFinished) for event in events)


def _table(
    run: StoredRun, bad: Mapping[str, Damage], finished: Sequence[StageFinished]
) -> tuple[pa.Table, tuple[Damage, ...]]:
    """The rows of stages that have all of theirs, and of the one that was cut off with its engine."""
    found: list[DamagedError] = []
    table = run.requests(_NOT_READ, found, _whole_bytes(bad, REQUESTS))
    counts = Counter(table["stage"].to_pylist())
    short = [one.facts.index for one in finished if counts[one.facts.index] < _least_rows(one.stage)]
    if short:
        table = table.filter(pa.compute.invert(pa.compute.is_in(table["stage"], pa.array(short, pa.int32()))))
    return table, (Damage(REQUESTS, "cut off" if not found else "changed"),) if short or found else ()


def _least_rows(stage: Stage) -> int:
    """Rows that a stage has at least: one of each request that came to an end."""
    return stage.completed + sum(stage.errors.values())


def _slo_begun_with(events: Sequence[Event]) -> tuple[Objective, ...]:
    return next((event.slo for event in events if isinstance(event, RunStarted)), ())


def _is_as_reported(rescored: Result, finished: Sequence[StageFinished]) -> bool:
    """Whether the rows of a run without checksums give what the engine reported at the end of each stage. Means and
    maxima are compared: another version may draw percentiles and intervals otherwise."""
    stages = [stage for stage in rescored.stages if not stage.is_pooled]
    return len(stages) == len(finished) and all(
        stage.completed == one.stage.completed and stage.errors == one.stage.errors and _has_means_of(stage, one.stage)
        for stage, one in zip(stages, finished, strict=True)
    )


def _has_means_of(stage: Stage, reported: Stage) -> bool:
    for name in stage.metrics.keys() & reported.metrics.keys():
        for aggregate in ("mean", "max"):
            found, told = stage.metrics[name].get(aggregate), reported.metrics[name].get(aggregate)
            if found is None or told is None or found.value is None or told.value is None:
                continue
            if not math.isclose(found.value, told.value, rel_tol=1e-6, abs_tol=1e-9):
                return False
    return True


def _telemetry(run: StoredRun, bad: Mapping[str, Damage], *, is_lost: bool) -> pa.Table:
    if TELEMETRY not in bad and not is_lost:
        return run.telemetry()
    return run.telemetry([], _whole_bytes(bad, TELEMETRY))


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
