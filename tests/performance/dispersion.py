"""Whether several workers together send one Poisson process: `python -m tests.performance.dispersion`.

2,000 req/s of 4 workers and their master, as scheduled, sent, and received by a server of one process, which
logs the time of each request. Takes a minute and a half.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from loadgen.process import LoadProcess
from loadgen.records import ClosedArrivals, Endpoint, Gather
from loadgen.workloads import HttpWorkload
from tests.performance.load_worker import DISPERSION_S, WINDOW_S, dispersion_indices, poisson, run_stage
from tests.performance.targets import logging_server

WORKERS = 4
RATE_PER_S = 2_000.0
REPEATS = 3


def measure_dispersion(seed: int) -> dict[str, tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "received.txt"
        # the log is written when the server goes
        with logging_server(log) as url, LoadProcess(gather=Gather(local_workers=WORKERS)) as load:
            load.configure(Endpoint((url,)), HttpWorkload())
            run_stage(load, ClosedArrivals(4 * WORKERS), 0.5)  # connections made
            ended, rows = run_stage(load, poisson(RATE_PER_S), DISPERSION_S, seed)
        times = {
            "scheduled": rows["scheduled_ns"].to_numpy(),
            "sent": rows["sent_ns"].to_numpy(),
            "received": np.loadtxt(log, dtype=np.int64),
        }
    by_worker = rows["worker"].value_counts()
    assert len(by_worker) == WORKERS, by_worker
    return {label: dispersion_indices(times_ns, ended.start_ns) for label, times_ns in times.items()}


def main() -> None:
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {REPEATS} × {DISPERSION_S:g} s")
    runs = [measure_dispersion(seed) for seed in range(1, REPEATS + 1)]
    for label in runs[0]:
        by_second, overall = (median(run[label][index] for run in runs) for index in (0, 1))
        values = ", ".join(f"{run[label][0]:.2f}" for run in runs)
        print(f"{label:9} dispersion in {1e3 * WINDOW_S:g} ms: {by_second:.2f} (of {values}), {overall:.2f} overall")
    print("must: received 0.9 to 1.1, the median of the seconds'")


if __name__ == "__main__":
    main()
