"""Resources that 100 started and canceled runs leave in one process: `python -m tests.performance.cycles`.

Runs with one and two workers alternate, each stopped at another moment, from before its first child to its evaluation.
Takes two to four minutes; `--cycles N` are fewer.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.fakes.cancelled import MOMENTS, Footprint, cancelled_run

CYCLES = 100
USUAL_CODE = 130
LONGEST_S = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=CYCLES)
    cycles, rng = parser.parse_args().cycles, random.Random(1)
    durations_s: list[float] = []
    failures: list[str] = []
    processes = missed = 0
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            cancelled_run(Path(folder) / f"first-{workers}", MOMENTS[-1], workers)  # what is loaded once is there now
        before = Footprint.now()
        for cycle in range(cycles):
            moment, workers = MOMENTS[cycle // 2 % len(MOMENTS)], 1 + cycle % 2
            cancelled = cancelled_run(
                Path(folder) / str(cycle), moment._replace(after_s=moment.after_s * rng.uniform(0.5, 1.5)), workers
            )
            left = Footprint.now().left_since(before)
            if left or cancelled.code != USUAL_CODE or (cancelled.shutdown_s or 0.0) > LONGEST_S:
                failures.append(f"{workers} worker(s), {moment.name}: {cancelled}, left {left}")
            processes += cancelled.started
            missed += cancelled.shutdown_s is None
            durations_s.append(cancelled.shutdown_s or 0.0)
        grown_mib = Footprint.now().resident_mib - before.resident_mib
    print(f"{cycles} runs in {time.monotonic() - started_s:.0f} s; {processes} processes, none of which is left")
    print(f"from the signal to the end: median {median(durations_s):.2f} s, longest {max(durations_s):.2f} s")
    print(f"ended by themselves before they were stopped: {missed}")
    print(f"resident memory grew by {grown_mib:.1f} MiB")
    print("\n".join(failures) or "no descriptor, no socket and no thread is left")
    print(f"must: nothing left; < 20 MiB in 100 runs; no run goes on for {LONGEST_S:g} s after the signal")
    return len(failures)


if __name__ == "__main__":
    raise SystemExit(main())
