"""Find the most this machine's load generator can send on time, and keep it for later runs."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the calibration as JSON")


def execute(arguments: argparse.Namespace) -> int:
    import msgspec

    from app.cli.signals import stoppable
    from app.cli.tables import table
    from app.errors import ExitCode
    from app.wiring.parts import calibrate_machine

    with stoppable() as interruption:
        calibration = calibrate_machine(interruption)
    if interruption.code is not None:
        return interruption.code
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(calibration), indent=2).decode())
    else:
        rows = [
            (rung.offered_per_s, rung.achieved_per_s, rung.lag_p50_ms, rung.lag_p99_ms, 100 * rung.late_share,
             rung.worker_cpu_cores, "held" if rung.held else "did not hold")
            for rung in calibration.rungs
        ]  # fmt: skip
        header = ("offered/s", "sent/s", "lag p50 ms", "lag p99 ms", "late %", "cores", "")
        print(table(header, rows))
        print()
        print(f"ceiling: {_per_s(calibration.ceiling_per_s)} ({calibration.pacing}, {calibration.event_loop})")
    return ExitCode.OK if calibration.ceiling_per_s is not None else ExitCode.INVALID


def _per_s(rate: float | None) -> str:
    return "n/a: not even the lowest rate was sent on time" if rate is None else f"{rate:,.0f} requests/s"
