"""`make bench`: every benchmark in turn, printed and never gated; or those named. `--full` asks for the long forms.

`peers` and `agent_peers` install other tools, of some 7 GB, and run only when they are named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHES = (
    "load_worker", "streams", "live_sessions", "grpc_infer", "dispersion", "rows", "cycles", "telemetry", "scrapes",
    "local_harness",
    "generation_harness",
    "analysis", "fleet_simulation", "planning_year", "planning", "command_line",
    "window_start", "window_pages", "window_charts", "window_growth", "window_results", "window_library",
    "window_flood", "window_two_hours", "window_plan", "disturbance",
)  # fmt: skip
WITH_LONG_FORM = ("load_worker", "streams", "grpc_infer", "fleet_simulation")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.performance", description=__doc__)
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"{', '.join(BENCHES)}; peers, agent_peers")
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    failed = 0
    for bench in arguments.benches or BENCHES:
        print(f"\n== {bench}", flush=True)
        takes_full = arguments.full and bench in WITH_LONG_FORM
        command = [sys.executable, "-m", f"tests.performance.{bench}", *(["--full"] if takes_full else [])]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
