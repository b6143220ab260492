"""Simulate one day of a planned fleet, request by request, to check the SLO and autoscaling.

The result states whether the fleet meets the SLO, and how much an autoscaler saves.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.commands import PATH, Command, CommandOption
from app.cli.options import OutputOptions, complete_runs, output_options, parse_output, set_option
from app.cli.streams import get_unescaped_stream, print_whole
from app.errors import ExitCode, UsageError
from app.extras import require_extra

if TYPE_CHECKING:
    from app.records.day import SimulatedDay, SimulatedHour
    from reports.sections.section import Column

_AUTOSCALERS = ("none", "hpa", "keda", "knative", "kserve", "schedule", "predictive")
_PROGRESS_DELAY_S, _PROGRESS_INTERVAL_S = 2.0, 1.0
_SET_KEYS = (
    ("autoscaler.min, .max", "replicas: --set autoscaler.min=2"),
    ("autoscaler.target", "per replica: 70% utilization, 4 (requests in flight) or 12/s"),
    ("autoscaler.metric", "busy, in-flight or rate, with the plan's target"),
    ("autoscaler.up.…, .down.…", "stabilization, pods, percent, period (hpa, keda)"),
    ("autoscaler.table", "{08:00: 12, 20:00: 4} (schedule)"),
    ("autoscaler.lead, .headroom", "5m, 10% (predictive)"),
    ("cold_start.node, .build, .warm_up", "durations: 90s"),
    ("cold_start.image, .weights", "8GB, or 40s"),
    ("cold_start.network, .disk, .pcie", "500MB/s, 10Gbit/s"),
    ("failures.mtbf, .detect, .new_node", "30d, 10s, true"),
    ("update.at, .surge, .unavailable", "10:00, 25%, 0%"),
    ("warm_pool", "number of idle instances that stay ready"),
    ("timeout, queue_limit, drain", "30s, 200 (at one replica), 30s"),
    ("router", "as plan.router"),
)
"""Keys of --set with examples of values; an unknown key prints the list of all keys."""


def _simulate(
    plan: str,
    day: str,
    autoscaler: str,
    overrides: tuple[str, ...],
    instances: int | None,
    offer: str | None,
    seed: int,
    requested_output: OutputOptions,
    csv: Path | None,
) -> int:
    from app.cli.tables import format_table, print_json
    from app.wiring.dependencies import get_utc_now
    from app.wiring.simulating import DayRequest, simulate_plan_day

    require_extra("plan")
    output = parse_output(requested_output)
    if csv is not None and not csv.parent.is_dir():
        raise UsageError(f"{csv} cannot be written: the folder {csv.parent} does not exist")
    request = DayRequest(
        source=plan,
        day=day,
        autoscaler=autoscaler,
        overrides=overrides,
        instances=instances,
        offer=offer,
        seed=seed,
    )
    simulated_day = simulate_plan_day(request, get_utc_now().date(), _Progress().report)
    if output == "json":
        import msgspec

        print_json(msgspec.structs.replace(simulated_day, minutes=()))
    elif output == "table":
        _show_day(simulated_day)
    else:
        print_whole(format_table(_build_columns(simulated_day), simulated_day.hours, output))
    if csv is not None:
        _write_minutes(csv, simulated_day)
    return ExitCode.OK


class _Progress:
    """Progress output of a simulation. A short simulation prints nothing. A longer one prints a
    line per second, which overwrites the previous line on a terminal."""

    def __init__(self) -> None:
        self._start_s: float | None = None
        self._last_line_s = 0.0

    def report(self, simulated_share: float) -> None:
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s
        elapsed_s, is_terminal = now_s - self._start_s, sys.stderr.isatty()
        if elapsed_s < _PROGRESS_DELAY_S or (simulated_share < 1 and now_s - self._last_line_s < _PROGRESS_INTERVAL_S):
            return
        self._last_line_s = now_s
        remaining_s = elapsed_s * (1 - simulated_share) / max(simulated_share, 1e-9)
        line = f"{100 * simulated_share:.0f} % of the day's requests simulated, about {remaining_s:.0f} s remaining"
        line_end = "" if is_terminal and simulated_share < 1 else "\n"
        print(f"\r{line:<60}" if is_terminal else line, end=line_end, file=get_unescaped_stream(sys.stderr))


def _show_day(day: SimulatedDay) -> None:
    import datetime
    import textwrap

    from app.cli.tables import format_table

    weekday = datetime.date.fromisoformat(day.date).strftime("%A")
    print(f"{weekday}, {day.date}, with {day.instances} × {day.offer} planned\n")
    for text in day.sentences:
        print(textwrap.fill(text, 110))
    print()
    print_whole(format_table(_build_columns(day), day.hours))
    print()
    for text in day.notes:
        print(textwrap.fill(text, 110, initial_indent="- ", subsequent_indent="  "))


def _build_columns(day: SimulatedDay) -> tuple[Column[SimulatedHour], ...]:
    """Return the columns of an hour; those of TTFT and TPOT only if requests have tokens."""
    from reports.sections.section import Column

    token_columns: tuple[Column[SimulatedHour], ...] = (
        Column("ttft_p95_ms", "p95 TTFT ms", lambda hour: hour.tokens.ttft_p95_ms if hour.tokens else None),
        Column("tpot_p95_ms", "p95 TPOT ms", lambda hour: hour.tokens.tpot_p95_ms if hour.tokens else None),
    )
    return (
        Column("", "hour", lambda hour: f"{hour.hour:02}:00"),
        Column("hour"),
        Column("arrivals_per_s", "req/s"),
        Column("ready", "ready replicas"),
        Column("billed", "billed replicas"),
        Column("instances", "billed instances"),
        Column("p50_ms", "p50 ms"),
        Column("p95_ms", "p95 ms"),
        Column("p99_ms", "p99 ms"),
        *(token_columns if day.tokens is not None else ()),
        Column("good_share"),
        Column("", "within SLO %", _format_good_percent),
        Column("usd", "$"),
    )


def _format_good_percent(hour: SimulatedHour) -> str | None:
    """Format the share of good requests in percent, rounded down, so that 100 means all requests."""
    return None if hour.good_share is None else f"{math.floor(10_000 * hour.good_share) / 100:.2f}"


def _write_minutes(path: Path, day: SimulatedDay) -> None:
    import csv

    from app.records.day import DayMinute

    names = DayMinute.__struct_fields__
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows([getattr(minute, name) for name in names] for minute in day.minutes)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    print(f"{path} was written", file=sys.stderr)


COMMAND = Command(
    "simulate",
    _simulate,
    [
        click.Argument(["plan"], shell_complete=complete_runs, help="plan file, or a run to compute a plan from first"),
        CommandOption(
            ["--day"],
            default="busiest",
            metavar="DATE",
            help="day to simulate, like 2026-12-01 (default: the busiest of the next 12 months)",
        ),
        CommandOption(
            ["--autoscaler"],
            type=click.Choice(_AUTOSCALERS),
            default="none",
            help="autoscaler to simulate (default: none, the planned fleet)",
        ),
        set_option("settings of scaling, cold start, failures and queueing; repeatable"),
        CommandOption(
            ["--instances"],
            type=click.IntRange(1, 10_000),
            metavar="N",
            help="number of instances (default: as planned)",
        ),
        CommandOption(["--offer"], metavar="KEY", help="another offer of the plan, like aws/g6.xlarge@us-east-1"),
        CommandOption(
            ["--seed"],
            type=click.IntRange(0, 2**32 - 1),
            default=1,
            metavar="N",
            help="seed; the same seed simulates the same day (default: 1)",
        ),
        *output_options("print the simulated day as JSON"),
        CommandOption(["--csv"], type=PATH, metavar="FILE", help="write a CSV file with one row per minute"),
    ],
    documentation=__doc__,
    notes={"Keys of --set, with examples of values": _SET_KEYS},
    examples=("sizewise simulate plan.yaml --autoscaler hpa --set autoscaler.min=2",),
)
