"""CPU cost of telemetry: `python -m tests.performance.telemetry`.

The budget: 100 µs CPU for a sample of a GPU, and 1 % of a core for reading a GPU at 20 Hz. The host and
its processes are read at 10 Hz by another thread, and are reported separately.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "fakes" / "nvml" / "simulated_nvml.c"
SECONDS = 8.0
SOURCES = ("endpoint", "generator", "engine")
ROUNDS = 9
THREADS = {
    "telemetry-gpus": "GPUs at 20 Hz",
    "telemetry-gpus-slow": "GPUs at 1 Hz",
    "telemetry": "host and processes at 10 Hz, and writing",
}


def main() -> None:
    if "NVML_STAND_IN_GPUS" in os.environ:
        measure()
        return
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libnvidia-ml.so.1"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        for gpus in ("0", "1", "8"):
            print(f"-- {gpus} GPUs (simulated: without the driver's own time)", flush=True)
            environment = os.environ | {"LD_LIBRARY_PATH": folder, "NVML_STAND_IN_GPUS": gpus}
            subprocess.run([sys.executable, "-m", "tests.performance.telemetry"], env=environment, check=True)


def measure() -> None:
    from app.telemetry.gpu import open_gpus
    from app.telemetry.gpu_slow import SlowGpuReader
    from app.telemetry.host import HostReader
    from app.telemetry.processes import SWEEP_INTERVAL_NS, ProcessReader

    children = [
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        for _ in SOURCES[1:]
    ]
    pids = [child.pid for child in children] + [os.getpid()]
    host, processes = HostReader(0), ProcessReader()
    for source, pid in zip(SOURCES, pids, strict=True):
        processes.watch(source, pid)
    processes.read(0)
    show("host", lambda: host.read(1))
    show("three processes", lambda: processes.read(1))
    beat = iter(range(SWEEP_INTERVAL_NS, 10**18, 10**12))
    show("three processes, looking for children", lambda: processes.read(next(beat)), repeats=50)
    with open_gpus() as gpus:
        if gpus.readers:
            gpu = gpus.readers[0]
            slow_reader = SlowGpuReader(gpus)
            show("one GPU, at every beat", lambda: gpu.read(1))
            show("all GPUs, once a second", lambda: list(slow_reader.read(1)))
    show_shares(pids)
    for child in children:
        child.communicate()


def show(label: str, sample: Callable[[], object], repeats: int = 200) -> None:
    sample()
    rounds_us = []
    for _ in range(ROUNDS):
        start_s = time.process_time()
        for _ in range(repeats):
            sample()
        rounds_us.append((time.process_time() - start_s) / repeats * 1e6)
    median, min_us, max_us = statistics.median(rounds_us), min(rounds_us), max(rounds_us)
    print(f"{label:40} {median:8.0f} µs CPU a sample ({min_us:.0f} to {max_us:.0f} in {ROUNDS} rounds)")


def show_shares(pids: list[int]) -> None:
    import pandas  # noqa: F401  (pyarrow loads it with the first batch, as the engine has done by then)

    from app.telemetry.sampler import Sampler

    sampler = Sampler()
    for source, pid in zip(SOURCES, pids, strict=True):
        sampler.watch(source, pid)
    rows: list[int] = []
    sampler.start(lambda batch: rows.append(batch.num_rows))
    threading.Event().wait(1)  # opening the driver and describing its GPUs is no sampling
    before_s, start_s = thread_cpu_s(), time.perf_counter()
    threading.Event().wait(SECONDS)
    after_s, duration_s = thread_cpu_s(), time.perf_counter() - start_s
    sampler.close()
    for name, label in THREADS.items():
        if name in after_s:
            print(f"{label:40} {100 * (after_s[name] - before_s[name]) / duration_s:8.2f} % of a core")
    print(f"{'rows':40} {sum(rows) / (duration_s + 1):8.0f} a second")


def thread_cpu_s() -> dict[str, float]:
    """CPU of this process's threads, by name."""
    return {
        thread.name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.ident is not None
    }


if __name__ == "__main__":
    main()
