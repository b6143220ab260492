"""Recover a result from the data of a run whose process was killed before the result was
written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import pyarrow as pa

from app import __version__
from app.analysis.gating import build_exit
from app.analysis.headline import mark_headline
from app.analysis.local.variants import NO_BEST_MESSAGES, mark_variant_headlines
from app.analysis.validity import compute_verdict
from app.errors import ExitCode, ProfileError, UsageError
from app.profiles.document import read_document
from app.records.events import (
    CallsFinished,
    CheckCompleted,
    Event,
    NoteAdded,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
    VariantFinished,
    VariantStarted,
)
from app.records.local import LocalResult, VariantData
from app.records.result import Cause, Check, Clock, Result, Target, Tool, Variant, Verdict
from app.storage.integrity import Damage
from app.storage.run_directory import EVENTS, StoredRun
from reports.formatting import format_count_noun


class RecoveredData(msgspec.Struct, frozen=True, kw_only=True):
    """Extent of the data recovered from a run without a result: one that was interrupted, or that
    ended and lost its result (`has_lost_result`). `unused_rows` is the number of rows of an
    unfinished stage, which are excluded from all metrics."""

    started: int
    finished: int
    rows: int
    unused_rows: int
    unit: str = "stage"
    has_lost_result: bool = False

    @property
    def text(self) -> str:
        finished_text = f"{self.finished} of {format_count_noun(self.started, self.unit)} finished"
        run_text = "a run that ended but lost its result.json" if self.has_lost_result else "an interrupted run"
        text = f"The result was recovered from {run_text}: {finished_text}"
        if self.unused_rows:
            text += f"; {self.unused_rows:,} of {self.rows:,} rows of an unfinished {self.unit} are excluded"
        return f"{text}."


def recover_result(run: StoredRun, events: Sequence[Event], table: pa.Table) -> tuple[Result, RecoveredData]:
    """Build a result from the stages as reported when they ended. The result has no evaluated
    objectives; the caller must re-evaluate the run.

    Raises UsageError if the environment or the first finished stage is missing.
    """
    started_event = next((event for event in events if isinstance(event, RunStarted)), None)
    environment = run.environment
    stages = tuple(event.stage for event in events if isinstance(event, StageFinished | CallsFinished))
    if started_event is None or environment is None or not stages:
        raise UsageError(
            f"{run.directory} was interrupted before its first stage finished",
            hint="Read its rows in Python with `sizewise.open_run(path).requests`, or `.calls` for a local model.",
        )
    checks = tuple(event.check for event in events if isinstance(event, CheckCompleted))
    recovery = _count_recovered_data(events, table)
    local = _build_local_result(events)
    notes = tuple(f"note: {event.text}" for event in events if isinstance(event, NoteAdded))
    result = Result(
        tool=Tool("sizewise", __version__),
        run_id=started_event.run_id,
        name=started_event.name,
        profile_hash="",
        target=_read_target(run.spec_text or ""),
        environment=environment,
        clock=Clock(started_event.at_ns, _get_start_time(run), (events[-1].at_ns - started_event.at_ns) / 1e9, None),
        verdict=compute_verdict(checks),
        validity=checks,
        stages=mark_headline(stages) if local is None else mark_variant_headlines((), stages),
        max_rate=None,
        slo=(),
        gates=(),
        plan=None,
        local=local,
        notes=(recovery.text, *notes),
        artifacts=(),
        exit=build_exit([Cause("cut_short", ExitCode.TERMINATED, NO_BEST_MESSAGES["cut_short"])]),
    )
    return result, recovery


def mark_damaged(result: Result, damage: Sequence[Damage], excluded_stage_names: Sequence[str] = ()) -> Result:
    """Return the result as INVALID, with the damaged files as the first reason.

    The reason also lists `excluded_stage_names`, which are not evaluated because rows are missing.
    """
    files_text = "; ".join(damaged_file.text for damaged_file in damage)
    sentence = f"DAMAGED: {files_text}. Results are based on the undamaged files."
    if excluded_stage_names:
        sentence += f" These stages are not evaluated because rows are missing: {', '.join(excluded_stage_names)}."
    check = Check(
        "stored_files", files_text, "unchanged", None, "INVALID", f"{sentence} Restore the damaged files from a copy."
    )
    return msgspec.structs.replace(
        result,
        validity=(check, *result.validity),
        verdict=Verdict("INVALID", (sentence, *result.verdict.reasons), result.verdict.unchecked),
    )


def _count_recovered_data(events: Sequence[Event], table: pa.Table) -> RecoveredData:
    finished_events = [event for event in events if isinstance(event, StageFinished)]
    variant_events = [event for event in events if isinstance(event, VariantFinished)]
    started_count = sum(isinstance(event, StageStarted) for event in events)
    has_lost_result = any(isinstance(event, RunFinished) for event in events)
    if any(isinstance(event, VariantStarted) for event in events):
        started_count = sum(isinstance(event, VariantStarted) for event in events)
        return RecoveredData(
            started=started_count,
            finished=len(variant_events),
            rows=0,
            unused_rows=0,
            unit="variant",
            has_lost_result=has_lost_result,
        )
    finished_indices = pa.array([event.index for event in finished_events], pa.int32())
    used_row_count = pa.compute.sum(pa.compute.is_in(table["stage"], value_set=finished_indices)).as_py() or 0
    return RecoveredData(
        started=started_count,
        finished=len(finished_events),
        rows=table.num_rows,
        unused_rows=table.num_rows - used_row_count,
        has_lost_result=has_lost_result,
    )


def _build_local_result(events: Sequence[Event]) -> LocalResult | None:
    """Build the results of the variants of a local run; `None` for another run. A variant that was
    being measured when the run was interrupted is included with its finished stages."""
    if not any(isinstance(event, VariantStarted) for event in events):
        return None
    finished_variants = {event.data.variant: event.data for event in events if isinstance(event, VariantFinished)}
    measured_variants = dict.fromkeys(event.data.variant for event in events if isinstance(event, CallsFinished))
    return LocalResult(
        variants=(
            *finished_variants.values(),
            *(_build_unfinished_variant(variant) for variant in measured_variants if variant not in finished_variants),
        ),
        best_reason="cut_short",
    )


def _build_unfinished_variant(variant: Variant) -> VariantData:
    return VariantData(
        variant=variant,
        model_file=variant.model,
        model_sha256=None,
        size_bytes=None,
        failure="the run was interrupted before the variant was measured to its end",
    )


def _get_start_time(run: StoredRun) -> str:
    """Return the start time of a run, ISO 8601: the creation time of the events file. If the
    operating system does not report the creation time, the time of the last change is returned."""
    stat = (run.directory / EVENTS).stat()
    timestamp = getattr(stat, "st_birthtime", None) or stat.st_mtime
    return datetime.fromtimestamp(timestamp).astimezone().isoformat(timespec="seconds")


def _read_target(spec_text: str) -> Target:
    try:
        spec = read_document(spec_text.encode(), "spec.yaml").value
    except ProfileError:
        spec = None
    section = spec.get("target") if isinstance(spec, dict) else None
    target = section if isinstance(section, dict) else {}
    urls = target.get("url")
    url_texts = tuple(map(str, urls)) if isinstance(urls, list) else () if urls is None else (str(urls),)
    model = target.get("model")
    if isinstance(model, list):  # files of a local run, whose variants are named after them
        model = ", ".join(Path(str(file_name)).stem for file_name in model)
    return Target(str(target.get("protocol", "unknown")), url_texts, None if model is None else str(model), None)
