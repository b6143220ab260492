"""Live view of a run on a terminal: progress of the stage, rates, latencies, errors and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.analysis.number_format import format_number
from app.analysis.run_progress import (
    RunProgress,
    advance_progress,
    compute_stage_elapsed_s,
    compute_stage_share,
    format_load,
    get_stage_duration_s,
)
from app.cli.streams import format_for_readers
from app.records.events import CheckCompleted, Event, Snapshot, StageFinished, StageStarted
from app.records.result import Check
from app.records.stage_kinds import STAGE_KINDS

_RATE_WINDOW_NS = 5_000_000_000
_LABEL_WIDTH = 9
_PERCENTILES = ("p50", "p95", "p99")
_Percentiles = tuple[float | None, float | None, float | None]


class LoadReadings(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a run and the readings of its running stage, computed only from events."""

    progress: RunProgress = RunProgress()
    snapshots: tuple[Snapshot, ...] = ()
    """Snapshots of the running stage in the last 5 s, from which rates are computed."""
    finished_errors: Counter[str] = msgspec.field(default_factory=Counter[str])
    """Failures by error class in the finished stages."""
    checks: tuple[Check, ...] = ()

    @property
    def snapshot(self) -> Snapshot | None:
        """Last snapshot of the running stage."""
        return self.snapshots[-1] if self.snapshots else None

    @property
    def sent(self) -> int:
        """Number of requests that the running stage has sent."""
        return 0 if self.snapshot is None else self.snapshot.sent

    @property
    def errors(self) -> Counter[str]:
        """Failures of the run by error class."""
        return self.finished_errors + Counter({} if self.snapshot is None else self.snapshot.errors)

    @property
    def completed_per_s(self) -> float | None:
        return self._compute_rate_per_s([snapshot.completed for snapshot in self.snapshots])

    @property
    def tokens_per_s(self) -> float | None:
        if self.snapshot is None or self.snapshot.output_tokens is None:
            return None
        return self._compute_rate_per_s([snapshot.output_tokens or 0 for snapshot in self.snapshots])

    def _compute_rate_per_s(self, counts: Sequence[int]) -> float | None:
        if len(counts) < 2 or self.snapshots[-1].at_ns <= self.snapshots[0].at_ns:
            return None
        return (counts[-1] - counts[0]) * 1e9 / (self.snapshots[-1].at_ns - self.snapshots[0].at_ns)


def advance_readings(readings: LoadReadings, event: Event) -> LoadReadings:
    readings = replace(readings, progress=advance_progress(readings.progress, event))
    match event:
        case StageStarted():
            return replace(readings, snapshots=())
        case Snapshot():
            oldest_ns = event.at_ns - _RATE_WINDOW_NS
            recent_snapshots = (snapshot for snapshot in readings.snapshots if snapshot.at_ns >= oldest_ns)
            return replace(readings, snapshots=(*recent_snapshots, event))
        case StageFinished(stage=stage):
            if not STAGE_KINDS[stage.kind].is_measured:
                return replace(readings, snapshots=())
            errors, checks = readings.finished_errors + Counter(stage.errors), (*readings.checks, *stage.checks)
            return replace(readings, snapshots=(), finished_errors=errors, checks=checks)
        case CheckCompleted(check=check):
            return replace(readings, checks=(*readings.checks, check))
        case _:
            return replace(readings, snapshots=()) if readings.progress.stage is None else readings


def format_readings(readings: LoadReadings, now_ns: int) -> str | None:
    """Format the readings of the running stage as one line, without unknown values; `None` without
    readings."""
    snapshot = readings.snapshot
    if snapshot is None:
        return None
    stage_text = " ".join(part for part in (_format_stage(readings), _format_stage_time(readings, now_ns)) if part)
    texts = [*_list_load_texts(readings, snapshot), *map(_format_percentiles, _list_latencies(snapshot))]
    eta_s = readings.progress.estimate_eta_s(now_ns)
    texts += [] if eta_s is None else [f"{_format_clock(eta_s)} left"]
    return f"{stage_text}: {', '.join(texts)}" if stage_text else ", ".join(texts)


def build_live_view(readings: LoadReadings, now_ns: int) -> Table:
    """Build the live view of a run: a header with the elapsed and the remaining time, and during a
    stage its progress bar and readings."""
    snapshot, lines = readings.snapshot, []
    if snapshot is not None:
        lines.append(_build_line("load", _build_text("   ".join(_list_load_texts(readings, snapshot)))))
        latencies = _list_latencies(snapshot)
        if latencies:
            lines.append(_build_line("", Text("".join(f"{name:>10}" for name in _PERCENTILES), style="dim")))
        for name, percentiles in latencies:
            lines.append(_build_line(name, Text("".join(f"{_format_ms(value):>10}" for value in percentiles) + " ms")))
    if readings.errors:
        lines.append(_build_line("errors", _build_text(_format_errors(readings.errors), style="red")))
    if readings.checks:
        lines.append(_build_line("checks", _build_checks_text(readings.checks)))
    view = Table.grid(expand=True)
    view.add_column(no_wrap=True)
    view.add_row(_build_header(readings, now_ns))
    for bar in _build_bars(readings, now_ns):
        view.add_row(bar)
    for line in lines:
        view.add_row(line)
    return view


def _build_line(label: str, text: Text) -> Text:
    return Text.assemble((f"{label:<{_LABEL_WIDTH}}", "dim"), text, no_wrap=True, overflow="ellipsis")


def _build_header(readings: LoadReadings, now_ns: int) -> Table:
    header = Table.grid(expand=True, padding=(0, 1))
    header.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    header.add_column(no_wrap=True, justify="right")
    progress = readings.progress
    pair_run = progress.pair_run
    title = _format_stage(readings) or progress.message or progress.position or "starting"
    title = title if pair_run is None else f"pair {pair_run.pair} of {pair_run.pairs}: {pair_run.side}"
    times = [] if progress.started_ns is None else [f"{_format_clock((now_ns - progress.started_ns) / 1e9)} elapsed"]
    eta_s = progress.estimate_eta_s(now_ns)
    times += [] if eta_s is None else [f"{_format_clock(eta_s)} left"]
    header.add_row(_build_text(title, style="bold"), Text(", ".join(times), style="dim"))
    return header


def _build_bars(readings: LoadReadings, now_ns: int) -> Iterator[ProgressBar]:
    """Yield the bar of the running stage, or of a comparison's runs. A bar of the whole run is not
    possible, since the number of stages of a search is not known in advance."""
    progress = readings.progress
    if progress.stage is not None:
        yield ProgressBar(1.0, compute_stage_share(progress.stage, readings.sent, now_ns))
    elif progress.pair_run is not None and progress.total is not None:
        yield ProgressBar(progress.total, progress.completed)


def _build_checks_text(checks: Sequence[Check]) -> Text:
    passed_count = sum(check.verdict == "VALID" for check in checks)
    names = dict.fromkeys(f"{check.verdict} {check.name}" for check in checks if check.verdict != "VALID")
    text = _build_text(f"{passed_count} of {len(checks)} passed")
    return text.append_text(_build_text("".join(f", {name}" for name in names), style="yellow"))


def _build_text(text: str, style: str = "") -> Text:
    """Build text that contains no control characters, since names may come from untrusted files."""
    return Text(format_for_readers(text), style=style)


def _format_stage(readings: LoadReadings) -> str:
    """Format the running stage with its position and load, such as `stage 2 of 5, steady (40
    req/s)`."""
    progress, stage = readings.progress, readings.progress.stage
    if stage is None:
        return ""
    if stage.test is not None:
        return progress.position
    load_text = format_load(stage)
    name = f"{stage.label} ({load_text})" if load_text else stage.label
    if progress.phase != "stages" or progress.total is None or not STAGE_KINDS[stage.kind].is_measured:
        return name
    return f"stage {min(progress.completed + 1, progress.total)} of {progress.total}, {name}"


def _format_stage_time(readings: LoadReadings, now_ns: int) -> str:
    stage = readings.progress.stage
    if stage is None:
        return ""
    if stage.requests is not None:
        return f"after {readings.sent:,} of {stage.requests:,} requests"
    return f"after {compute_stage_elapsed_s(stage, now_ns):.0f} of {get_stage_duration_s(stage):.0f} s"


def _list_load_texts(readings: LoadReadings, snapshot: Snapshot) -> list[str]:
    """Return the rates and counts of the load, without unknown values. Counts are of the running
    stage."""
    token_rates = (("prefill", snapshot.prefill_tokens_per_s), ("decode", snapshot.decode_tokens_per_s))
    if any(rate is not None for _, rate in token_rates):
        return [f"{name} {format_number(rate, 3)} tok/s" for name, rate in token_rates if rate is not None]
    rate_per_s, tokens_per_s = readings.completed_per_s, readings.tokens_per_s
    local_unit = "calls/s" if tokens_per_s is None else "steps/s"
    rate_unit = "req/s" if readings.progress.variant is None else local_unit
    texts = [] if rate_per_s is None else [f"{format_number(rate_per_s, 3)} {rate_unit}"]
    texts += [] if tokens_per_s is None else [f"{format_number(tokens_per_s, 3)} tok/s"]
    texts += [] if snapshot.in_flight is None else [f"in flight {snapshot.in_flight:,}"]
    return [*texts, f"sent {snapshot.sent:,}", f"failed {snapshot.failed:,}"]


def _list_latencies(snapshot: Snapshot) -> list[tuple[str, _Percentiles]]:
    """Return p50, p95 and p99 of each latency of recent requests that has a value. The steps of a
    language model are prefills and tokens, whose latencies have no common distribution."""
    has_steps = snapshot.prefill_tokens_per_s is not None or snapshot.decode_tokens_per_s is not None
    latency: _Percentiles = (snapshot.latency_p50_ms, snapshot.latency_p95_ms, snapshot.latency_p99_ms)
    rows: list[tuple[str, _Percentiles]] = [
        ("latency", (None, None, None) if has_steps else latency),
        ("ITL", (snapshot.itl_p50_ms, snapshot.itl_p95_ms, snapshot.itl_p99_ms)),
        ("TTFT", (snapshot.ttft_p50_ms, snapshot.ttft_p95_ms, snapshot.ttft_p99_ms)),
        ("TPOT", (snapshot.tpot_p50_ms, snapshot.tpot_p95_ms, snapshot.tpot_p99_ms)),
    ]
    return [row for row in rows if any(value is not None for value in row[1])]


def _format_percentiles(row: tuple[str, _Percentiles]) -> str:
    name, percentiles = row
    return f"{name} p50/p95/p99 {' / '.join(map(_format_ms, percentiles))} ms"


def _format_ms(value: float | None) -> str:
    return "n/a" if value is None else format_number(value, 3)


def _format_errors(errors: Counter[str]) -> str:
    return ", ".join(f"{error} {count:,}" for error, count in errors.most_common())


def _format_clock(duration_s: float) -> str:
    """Format a duration as minutes and seconds, such as 1:05, or with hours, such as 1:01:05."""
    minutes, seconds = divmod(round(max(0.0, duration_s)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
