"""The load worker: `python -m loadgen.worker`, commands on standard input, reports on standard output; with `--join` it
serves the master that the one command on its standard input names.

Threads: Locust's hub (this one), the sender, a reader of commands, and the hub's pool, which ships a stage's rows.
"""

from __future__ import annotations

import os
import signal
import sys

# before anything imports Locust: patched threads would be greenlets, and the sender must be a real one
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

from loadgen.frames import Reports
from loadgen.machine import raise_limit

_SWITCH_S = 0.0001
"""How long shipping may keep the sender from running; Python's own 5 ms would be the send lag's p99."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides when a run ends
    raise_limit()
    sys.setswitchinterval(_SWITCH_S)
    # what prints by mistake prints to standard error, and cannot break a frame
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if sys.argv[1:] == ["--join"]:
        from loadgen.worker.joined import serve_master

        serve_master(sys.stdin.buffer, Reports(out))
    from loadgen.worker.piped import serve_engine

    serve_engine(sys.stdin.buffer, Reports(out))


main()
