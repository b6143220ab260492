"""Provide load workers of this machine to a run on another machine."""

from __future__ import annotations

import sys

from app.cli.commands import Command, CommandOption
from app.cli.options import TOKEN_OPTION, format_worker_count, parse_worker_count


def _lend_workers(master: str, workers: int | None, token: str | None, wait: str) -> int:
    import msgspec

    from app.cli.signals import handle_stop_signals
    from app.errors import ExitCode
    from app.wiring.calibrating import load_capacity_per_worker, parse_join_options
    from app.wiring.lent_workers import LentWorkers
    from app.wiring.workers import count_usable_workers

    join_options, worker_count = parse_join_options(master, token, wait), workers or count_usable_workers()
    with handle_stop_signals() as interruption:
        requests_per_s, chunks_per_s = load_capacity_per_worker(worker_count)
        if requests_per_s is None:
            _print_line(
                "hint: The capacity of this machine is unknown. "
                f"Run `sizewise calibrate --workers {worker_count}` first."
            )
        join_options = msgspec.structs.replace(
            join_options, capacity_per_s=requests_per_s, chunk_capacity_per_s=chunks_per_s
        )
        with LentWorkers(join_options, worker_count, should_continue=lambda: not interruption.is_requested) as pool:
            pool.wait(
                on_joined=lambda joined_count: _print_line(_format_joined_message(joined_count, worker_count, master))
            )
    if interruption.code is not None:
        return interruption.code
    _print_line("the run has ended")
    return ExitCode.OK


def _format_joined_message(joined_count: int, worker_count: int, master: str) -> str:
    stopped_note = (
        ""
        if joined_count == worker_count
        else f"; the run needed no more workers, so {worker_count - joined_count} on this machine stopped"
    )
    return f"{format_worker_count(joined_count)} joined the run at {master}{stopped_note}"


def _print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


COMMAND = Command(
    "worker",
    _lend_workers,
    [
        CommandOption(
            ["--master"],
            required=True,
            metavar="HOST:PORT",
            help="address of the master, as set by --bind of the run",
        ),
        CommandOption(
            ["--workers"],
            type=parse_worker_count,
            metavar="N",
            help="number of load worker processes (default: one per core)",
        ),
        TOKEN_OPTION,
        CommandOption(["--wait"], default="60s", metavar="TIME", help="how long to wait for the run (default: 60s)"),
    ],
    documentation=__doc__,
    examples=("sizewise worker --master 10.0.0.1:5557 --token file:token",),
)
