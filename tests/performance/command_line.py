"""Duration of commands: `sizewise --version` (budget 0.15 s), the quickstart (100 s), and its report's size (2 MB)."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZEWISE = str(Path(sys.executable).with_name("sizewise"))


def measure_seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([SIZEWISE, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    measure_seconds("--version")
    versions = [measure_seconds("--version") for _ in range(9)]
    print(f"sizewise --version: median {statistics.median(versions):.3f} s of 9, slowest {max(versions):.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        quickstart_s = measure_seconds("quickstart", "--out", str(run))
        size = (run / "report.html").stat().st_size
    print(f"sizewise quickstart: {quickstart_s:.0f} s, report.html {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
