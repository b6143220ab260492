"""Run a load worker: `python -m loadgen.worker`. The worker reads commands from standard input and
writes reports to standard output.

With `--join`, the worker reads only the command Join from standard input, and serves the master at
the address in this command.

Threads: the gevent hub of Locust (main thread), the sending thread, a reader of commands, and the
hub's thread pool, which sends the rows of a stage.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

# Set before anything imports Locust: patched threads would be greenlets, and the sender must be a
# native thread.
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

from loadgen.frames import ReportWriter
from loadgen.machine import raise_descriptor_limit

_SWITCH_INTERVAL_S = 0.0001
"""Thread switch interval in seconds: the maximum time for which the transfer of rows can block the
sending thread. With Python's default of 5 ms, the p99 send lag would be 5 ms."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides when a run ends
    raise_descriptor_limit()
    gc.disable()  # during the imports, whose collections would take a tenth of their time
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    # Redirect accidental prints to standard error, so that they cannot corrupt a frame.
    frame_output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if sys.argv[1:] == ["--join"]:
        from loadgen.worker.master_worker import serve_master

        gc.enable()
        serve_master(sys.stdin.buffer, ReportWriter(frame_output))
    from loadgen.worker.engine_worker import serve_engine

    gc.enable()
    serve_engine(sys.stdin.buffer, ReportWriter(frame_output))


main()
