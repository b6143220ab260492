"""What watching costs: `python -m tests.performance.telemetry`. The budget is 1 % of a core at 10 Hz."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "fakes" / "nvml" / "nvml_stand_in.c"
SECONDS = 8.0
SOURCES = ("endpoint", "generator", "engine")


def main() -> None:
    if "NVML_STAND_IN_GPUS" in os.environ:
        measure()
        return
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libnvidia-ml.so.1"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        for gpus in ("0", "1", "8"):
            print(f"-- {gpus} GPUs (stand-in: without the driver's own time)", flush=True)
            environment = os.environ | {"LD_LIBRARY_PATH": folder, "NVML_STAND_IN_GPUS": gpus}
            subprocess.run([sys.executable, "-m", "tests.performance.telemetry"], env=environment, check=True)


def measure() -> None:
    from app.telemetry.gpu import open_gpus
    from app.telemetry.host import HostReader
    from app.telemetry.processes import SWEEP_NS, ProcessReader

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
    beat = iter(range(SWEEP_NS, 10**18, 10**12))
    show("three processes, looking for children", lambda: processes.read(next(beat)), repeats=50)
    with open_gpus() as gpus:
        if gpus.readers:
            gpu = gpus.readers[0]
            show("one GPU", lambda: gpu.read(1))
    show_share(pids)
    for child in children:
        child.communicate()


def show(what: str, sample: Callable[[], object], repeats: int = 1_000) -> None:
    sample()
    began = time.process_time()
    for _ in range(repeats):
        sample()
    print(f"{what:40} {(time.process_time() - began) / repeats * 1e6:8.0f} µs CPU a sample")


def show_share(pids: list[int]) -> None:
    import pandas  # noqa: F401  (pyarrow loads it with the first batch, as the engine has done by then)

    from app.telemetry.sampler import Sampler

    sampler = Sampler()
    for source, pid in zip(SOURCES, pids, strict=True):
        sampler.watch(source, pid)
    rows: list[int] = []
    sampler.start(lambda batch: rows.append(batch.num_rows))
    began = time.process_time()
    threading.Event().wait(SECONDS)
    share = (time.process_time() - began) / SECONDS
    sampler.close()
    print(f"{'sampler at 10 Hz':40} {100 * share:8.2f} % of a core, {sum(rows) / SECONDS:.0f} rows/s")


if __name__ == "__main__":
    main()
