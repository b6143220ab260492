"""The load worker: `python -m loadgen.worker`, with commands on standard input and reports on standard output.

With `--join` it serves the master named by the only command on its standard input.

Threads: Locust's hub (this one), the sender, a reader of commands, and the hub's thread pool, which sends a stage's
rows.
"""

from __future__ import annotations

import os
import signal
import sys

# Set before anything imports Locust: patched threads would be greenlets, and the sender must be a native thread.
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

from loadgen.frames import ReportWriter
from loadgen.machine import raise_descriptor_limit

_SWITCH_S = 0.0001
"""Longest time in seconds that the sending of rows may keep the sender from running; with Python's default of 5 ms,
that would be the p99 of the send lag."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides when a run ends
    raise_descriptor_limit()
    sys.setswitchinterval(_SWITCH_S)
    # Accidental prints go to standard error and cannot break a frame.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if sys.argv[1:] == ["--join"]:
        from loadgen.worker.master_worker import serve_master

        serve_master(sys.stdin.buffer, ReportWriter(out))
    from loadgen.worker.engine_worker import serve_engine

    serve_engine(sys.stdin.buffer, ReportWriter(out))


main()
