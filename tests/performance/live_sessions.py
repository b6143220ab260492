"""Send lag of live sessions: `python -m tests.performance.live_sessions`, half a minute.

200 clients have live sessions, whose next request is built from the response while others are due. The same load with
prepared histories is interleaved: the difference is what live sessions add. The lag is from the scheduled time of a
request to its send; the limit is 1 ms at p99.
"""

from __future__ import annotations

import os
from statistics import median

import msgspec
import numpy as np

from loadgen.process import LoadProcess
from loadgen.records import ClosedArrivals, Endpoint
from loadgen.reference.openai_events import Generation, build_chunked_stream, build_openai_stream
from loadgen.reference.script import Script
from loadgen.workloads import FixedDelay, FixedLength, LiveHistory, OpenAiWorkload, SyntheticPrompts
from tests.performance.load_worker import run_stage
from tests.performance.targets import CLIENT_CORE, on_core, scripted_server

SESSIONS, TURNS, PAIRS, SECONDS = 200, 8, 5, 3.0
TOKENS = 40
FIRST_S, GAP_S, THINK_S = 0.1, 0.005, 0.2
LIMIT_MS = 1.0
PREPARED = SyntheticPrompts(
    FixedLength(200), FixedLength(TOKENS), turns=FixedLength(TURNS), think_time=FixedDelay(THINK_S), unique=100
)
LIVE = msgspec.structs.replace(PREPARED, live=LiveHistory())


def measure_lag_ms(url: str, prompts: SyntheticPrompts) -> tuple[float, float, int]:
    """p50, p99 and number of the requests after the first of each session."""
    with on_core(CLIENT_CORE):
        load = LoadProcess()
    with load:
        load.configure(Endpoint((f"{url}/v1",)), OpenAiWorkload("chat", "scripted", prompts))
        run_stage(load, ClosedArrivals(SESSIONS), 1.0)  # connections made
        _, rows = run_stage(load, ClosedArrivals(SESSIONS), SECONDS)
    later = rows[rows["turn"] > 0]
    p50_ms, p99_ms = np.percentile((later["sent_ns"] - later["scheduled_ns"]) / 1e6, [50, 99])
    return p50_ms, p99_ms, len(later)


def main() -> None:
    stream = build_chunked_stream(build_openai_stream(Generation(tokens=TOKENS), FIRST_S, GAP_S), head_s=FIRST_S)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {SESSIONS} sessions of {TURNS} turns")
    with scripted_server(Script(reply=stream)) as url:
        pairs = [(measure_lag_ms(url, PREPARED), measure_lag_ms(url, LIVE)) for _ in range(PAIRS)]
    for name, runs in (("prepared", [prepared for prepared, _ in pairs]), ("live", [live for _, live in pairs])):
        p50_ms, p99_ms = (median(run[index] for run in runs) for index in (0, 1))
        print(f"{name:9} send lag p50 {p50_ms:.3f} ms, p99 {p99_ms:.3f} ms; {sum(run[2] for run in runs):,} requests")
    added_ms = median(live[1] - prepared[1] for prepared, live in pairs)
    outcome = "met" if added_ms <= LIMIT_MS else "missed"
    print(f"added at p99: {added_ms:+.3f} ms; the limit of {LIMIT_MS:g} ms is {outcome}")


if __name__ == "__main__":
    main()
