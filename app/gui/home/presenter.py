"""Texts of the Home page, computed only from records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from app.errors import UnavailableError
from app.extras import require_extra
from app.gui import formatting
from app.gui.docks.machine_format import format_reading, gpu_title
from app.gui.docks.machine_watch import MachineState
from app.gui.formatting import NOT_AVAILABLE, State, format_cell, shorten
from app.gui.navigation import Launch
from app.records.machine import GpuState, MachineInfo, MachineNow
from app.records.telemetry_sources import NVIDIA, find_gpu_vendor

if TYPE_CHECKING:
    from app.reporting.run_history import RunHistory
    from app.reporting.run_rows import RunRow

QUICK_CHECK = ("quickstart", "--seconds", "2", "--no-retry")
LANGUAGE_MODEL_CHECK = ("quickstart", "--llm")
_MAX_RECENT_RUNS = 5
_LISTING_LIMIT_S = 0.5


class MachineLine(msgspec.Struct, frozen=True):
    """Line about this machine, with a title and a text. The `state` is "plain" unless the line
    describes a problem."""

    title: str
    text: str
    state: State = "plain"


class RunLine(msgspec.Struct, frozen=True):
    """Texts and numbers of the card of one of the most recent runs. `outcome` and `validity` are
    verdicts such as PASS and INVALID, or empty; `state` describes a run without a verdict."""

    directory: str
    name: str
    started: str
    headline: str
    """Main number of the run, such as "max rate 238 req/s"; empty without one."""
    outcome: str = ""
    validity: str = ""
    state: str = ""
    age: str = ""
    values: tuple[float, ...] = ()
    """Main numbers of the run and of the comparable runs before it, oldest first."""
    change: str = ""
    change_state: State = "plain"
    """State of the change: plain if the change is within its noise."""
    reference: str | None = None
    """Directory of the baseline or of the previous comparable run; `None` without one."""
    is_baseline: bool = False
    """True if `reference` is the baseline of the profile."""

    @property
    def description(self) -> str:
        """All texts of the card but the name, for screen readers."""
        history = f"{len(self.values)} comparable runs" if len(self.values) > 1 else ""
        texts = (self.outcome, self.validity, self.state, self.headline, self.change, history, self.age, self.started)
        return ", ".join(text for text in texts if text)


def build_quick_check() -> Launch:
    from app.storage.run_directory import new_run_id, runs_home

    return Launch(QUICK_CHECK, runs_home() / new_run_id("quickstart", datetime.now(UTC)), "quickstart")


def build_language_model_check() -> Launch:
    from app.storage.run_directory import new_run_id, runs_home

    name = "quickstart-llm"
    return Launch(LANGUAGE_MODEL_CHECK, runs_home() / new_run_id(name, datetime.now(UTC)), name)


def find_language_model_problem() -> str | None:
    """Return why language models cannot run on this machine, and what to do; `None` if they
    can."""
    try:
        require_extra("llm")
    except UnavailableError as error:
        message = str(error)
        return f"{message[:1].upper()}{message[1:]}. {error.hint}"
    return None


def run_line(row: RunRow, history: RunHistory | None = None, now: datetime | None = None) -> RunLine:
    from app.reporting.run_history import compute_run_change, format_run_change

    has_verdict = row.verdict is not None and row.state == "done"
    change = None if history is None else compute_run_change(row, history)
    reference = None if history is None else history.reference
    return RunLine(
        directory=row.directory,
        name=shorten(row.label),
        started="" if row.started_at is None else formatting.format_clock_time(row.started_at),
        headline=shorten(row.headline or ""),
        outcome=row.outcome or "",
        validity=row.verdict or "" if has_verdict else "",
        state="" if has_verdict else row.state,
        age="" if now is None or row.started_at is None else format_age(row.started_at, now),
        values=() if history is None else history.values,
        change="" if change is None else format_run_change(change),
        change_state="plain" if change is None else _CHANGE_STATES.get(change.verdict, "plain"),
        reference=None if reference is None else reference.directory,
        is_baseline=history is not None and history.is_baseline,
    )


_CHANGE_STATES: dict[str, State] = {"better": "good", "worse": "bad"}
_AGE_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_MAX_AGE_DAYS = 60


def format_age(started_at: str, now: datetime) -> str:
    """Format the time since an ISO 8601 time, such as "5 min ago"; empty if it is not in the past,
    or long ago."""
    try:
        age_s = (now - datetime.fromisoformat(started_at)).total_seconds()
    except (ValueError, TypeError):  # no time, or a time without a time zone
        return ""
    if not 0 <= age_s < 86_400 * _MAX_AGE_DAYS:
        return ""
    unit_s, unit = next(((unit_s, unit) for unit_s, unit in _AGE_UNITS if age_s >= unit_s), (0, ""))
    return f"{age_s // unit_s:.0f} {unit} ago" if unit else "just now"


def read_recent_runs(now: datetime) -> tuple[RunLine, ...]:
    """Return the cards of the most recent runs, newest first. Earlier runs that are not in the index
    yet and cannot be read within the time limit are missing in their histories."""
    from app.reporting.run_history import build_run_histories
    from app.reporting.run_rows import build_row, list_runs
    from app.storage.baselines import list_promoted_directories
    from app.storage.run_directory import list_stored_runs

    rows = {row.directory: row for row in list_runs(time_limit_s=_LISTING_LIMIT_S).rows}
    recent_runs = list_stored_runs()[-_MAX_RECENT_RUNS:]
    for run in recent_runs:
        row = rows.get(str(run.directory))
        if row is None or row.state == "not read yet":
            rows[str(run.directory)] = build_row(run)
    histories = build_run_histories(rows.values(), list_promoted_directories())
    return tuple(
        run_line(rows[str(run.directory)], histories.get(str(run.directory)), now) for run in reversed(recent_runs)
    )


def machine_lines(state: MachineState) -> tuple[MachineLine, ...]:
    return (
        _cpu_line(state.machine_info, state.readings),
        _memory_line(state.readings),
        *_gpu_lines(state.readings),
        _providers_line(state),
        _power_line(state.machine_info),
        *_problem_lines(state.machine_info),
    )


def _cpu_line(machine_info: MachineInfo | None, readings: MachineNow | None) -> MachineLine:
    parts = []
    if machine_info is not None:
        parts.append(shorten(machine_info.environment.cpu_model or machine_info.environment.cpu_architecture))
    if readings is not None:
        template = "{cores} cores, utilization {percent}"
        parts.append(
            template.format(cores=format_cell(readings.cores), percent=format_reading(readings.cpu_percent, "%"))
        )
    return MachineLine("CPU", ", ".join(parts) or _READING_TEXT)


def _memory_line(readings: MachineNow | None) -> MachineLine:
    if readings is None:
        return MachineLine("Memory", _READING_TEXT)
    used_text, total_text = format_cell(readings.memory_gib), format_cell(readings.memory_total_gib)
    return MachineLine("Memory", f"{used_text} of {total_text} GiB used")


def _gpu_lines(readings: MachineNow | None) -> tuple[MachineLine, ...]:
    title = "GPU"
    if readings is None:
        return (MachineLine(title, _READING_TEXT),)
    lines = [_gpu_line(gpu, readings) for gpu in readings.gpus]
    if readings.gpu_note is not None:
        lines.append(MachineLine(title, f"GPU driver: {shorten(readings.gpu_note)}", "warn"))
    elif not lines and readings.driver is None:
        lines.append(MachineLine(title, "No NVIDIA driver is installed. Local GPU runs are not available."))
    elif not lines:
        lines.append(
            MachineLine(title, "Driver {driver} reports no GPU.".format(driver=shorten(readings.driver or "")))
        )
    return tuple(lines)


def _gpu_line(gpu: GpuState, readings: MachineNow) -> MachineLine:
    text = "{name}, {temperature}, utilization {utilization}".format(
        name=shorten(gpu.name),
        temperature=format_reading(gpu.temperature_c, "°C"),
        utilization=format_reading(gpu.utilization_percent, "%"),
    )
    if readings.driver is not None and find_gpu_vendor(gpu.source) is NVIDIA:
        text = f"{text}, driver {shorten(readings.driver)}"
    if not gpu.throttled_by:
        return MachineLine(gpu_title(gpu), text)
    throttled_text = f"{text}, throttled: {', '.join(gpu.throttled_by)}"
    return MachineLine(gpu_title(gpu), throttled_text, "warn")


def _providers_line(state: MachineState) -> MachineLine:
    title = "Execution providers"
    if state.machine_info is None:
        return (
            MachineLine(title, "Checking…")
            if state.problem is None
            else MachineLine(title, shorten(state.problem), "warn")
        )
    environment = state.machine_info.environment
    if not environment.providers:
        return MachineLine(title, "No execution provider is available.", "warn")
    names_text, version = ", ".join(environment.providers), environment.onnxruntime or NOT_AVAILABLE
    return MachineLine(title, f"{names_text} (ONNX Runtime {version})")


def _power_line(machine_info: MachineInfo | None) -> MachineLine:
    if machine_info is None:
        return MachineLine("Power mode", _READING_TEXT)
    return MachineLine("Power mode", machine_info.environment.cpu_governor or "n/a, not reported by this OS")


def _problem_lines(machine_info: MachineInfo | None) -> tuple[MachineLine, ...]:
    """Return a line with a hint for each property of this machine that limits the quality of
    measurements. A missing GPU is not a problem."""
    if machine_info is None:
        return ()
    check_lines = [
        MachineLine(check.name[:1].upper() + check.name[1:], _problem_text(check.value, check.unit, check.hint), "warn")
        for check in machine_info.checks
        if check.verdict != "VALID"
    ]
    if not machine_info.environment.gpus:
        return tuple(check_lines)
    provider_lines = [
        MachineLine(f"{provider.provider} unavailable", provider.reason, "warn")
        for provider in machine_info.unavailable_providers
    ]
    return (*check_lines, *provider_lines)


def _problem_text(value: float | str | None, unit: str | None, hint: str | None) -> str:
    text = " ".join(part for part in (format_cell(value), unit) if part)
    return text if hint is None else f"{text}. {hint}"


_READING_TEXT = "Reading…"
