"""What an open window and telemetry do to a measurement: `python -m tests.performance.disturbance`.

Runs in turn: as they are, watched live by a real window process, offscreen, and without telemetry. Each has a stage at
a given rate and one of clients. The budget: throughput differs by at most 2 %, and a latency by no more than two equal
runs differ from each other. `tests/seams/test_disturbance.py` gates it every night, with bounds for a shared machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from statistics import median

import msgspec

from app.storage.run_directory import EVENTS, StoredRun
from tests.fakes.program import wait_until
from tests.performance.pairs import load_average

PROFILE = """sizewise: 1
name: disturbed
target: {{protocol: http, scripted: {{delay: 5ms, spread: 0.3, parallel: 16}}}}
workload: {{body: {{a: 1}}}}
load:
  warmup: 1s
  stages:
    - {{name: rate, arrivals: poisson, rate: 200/s, duration: {seconds}s}}
    - {{name: clients, concurrency: 4, duration: {seconds}s}}
"""
MAX_THROUGHPUT_CHANGE = 0.02


class Mode(StrEnum):
    PLAIN = "plain"
    WATCHED = "watched by a window"
    WITHOUT_TELEMETRY = "without telemetry"


class Measured(msgspec.Struct, frozen=True):
    """Latencies at the given rate, and the throughput of the clients."""

    p50_ms: float
    p99_ms: float
    clients_per_s: float


class Change(msgspec.Struct, frozen=True):
    """Ratios of one quantity, disturbed to not disturbed, of each pair of runs."""

    quantity: str
    ratios: tuple[float, ...]
    equal_ratio: float
    """Largest ratio of two runs that follow each other and were both not disturbed, at least 1."""

    @property
    def median(self) -> float:
        return median(self.ratios)

    def __str__(self) -> str:
        return (
            f"{self.quantity} {self.median:.3f} ({min(self.ratios):.3f} to {max(self.ratios):.3f}; "
            f"equal runs up to {self.equal_ratio:.3f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch is not None:
        watch(options.watch)
        return
    print(load_average())
    with tempfile.TemporaryDirectory() as folder:
        by_mode = measure(Path(folder), options.pairs, options.seconds)
    for name, changes in (
        ("a window that watches", compare(by_mode[Mode.PLAIN], by_mode[Mode.WATCHED])),
        ("telemetry", compare(by_mode[Mode.WITHOUT_TELEMETRY], by_mode[Mode.PLAIN])),
    ):
        is_within = all(
            abs(change.median - 1) <= MAX_THROUGHPUT_CHANGE
            if change.quantity == "clients_per_s"
            else change.median <= change.equal_ratio
            for change in changes
        )
        print(f"{name}: {'; '.join(map(str, changes))}: {'within' if is_within else 'NOT within'} the budget")


def measure(home: Path, pairs: int, seconds: int) -> dict[Mode, list[Measured]]:
    """Return what `pairs` runs of each mode measured, in turn and in turn about."""
    (home / "profile.yaml").write_text(PROFILE.format(seconds=seconds))
    by_mode: dict[Mode, list[Measured]] = {mode: [] for mode in Mode}
    for number in range(pairs):
        for mode in list(Mode) if number % 2 == 0 else reversed(Mode):
            by_mode[mode].append(measure_once(home, f"{number}-{mode.name.lower()}", mode))
    return by_mode


def compare(plain: Sequence[Measured], disturbed: Sequence[Measured]) -> list[Change]:
    """Return the change of each quantity; both sequences have the runs of a pair at the same place."""
    changes = []
    for quantity in Measured.__struct_fields__:
        before, after = ([getattr(run, quantity) for run in runs] for runs in (plain, disturbed))
        ratios = tuple(b / a for a, b in zip(before, after, strict=True))
        equal_ratio = max((max(a / b, b / a) for a, b in pairwise(before)), default=1.0)
        changes.append(Change(quantity, ratios, equal_ratio))
    return changes


def measure_once(home: Path, name: str, mode: Mode) -> Measured:
    run = home / name
    engine = subprocess.Popen(
        [sys.executable, "-c", _ENGINE, mode, "run", home / "profile.yaml", "--out", run],
        env=os.environ | {"SIZEWISE_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    window = None
    try:
        wait_until(lambda: (run / EVENTS).exists() or engine.poll() is not None)
        if mode is Mode.WATCHED:
            window = subprocess.Popen(
                [sys.executable, "-m", "tests.performance.disturbance", "--watch", run],
                env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
            )
        printed, _ = engine.communicate(timeout=300)
        if window is not None:
            assert window.wait(timeout=60) == 0, "the window failed"
    finally:
        for process in (engine, window):
            if process is not None:
                process.kill()
                process.communicate()
    result = StoredRun(run).result
    assert result is not None, printed.decode()
    stages = {stage.name: stage for stage in result.stages}
    latency, throughput = stages["rate"].metrics["latency_ms"], stages["clients"].metrics["completed_per_s"]
    p50_ms, p99_ms, clients_per_s = latency["p50"].value, latency["p99"].value, throughput["value"].value
    assert p50_ms is not None, f"{name} has no p50"
    assert p99_ms is not None, f"{name} is too short for a p99"
    assert clients_per_s is not None, f"{name} has no throughput"
    has_telemetry = (run / "telemetry.arrow").stat().st_size > _MAX_EMPTY_BYTES
    assert has_telemetry == (mode is not Mode.WITHOUT_TELEMETRY)
    return Measured(p50_ms, p99_ms, clients_per_s)


_ENGINE = """
import sys
from app.__main__ import main
from app.telemetry.sampler import Sampler
if sys.argv.pop(1) == "without telemetry":
    Sampler.start = lambda sampler, sink: None
sys.exit(main())
"""
_MAX_EMPTY_BYTES = 4096
"""Size of a stream of telemetry that has a schema and no rows, at most."""


def watch(run: Path) -> None:
    """The window: it ends with the run."""
    from PySide6.QtWidgets import QApplication

    from app.gui.live.page import LivePage
    from app.gui.navigation import Navigation
    from app.gui.theme import ThemeController

    application = QApplication([])
    page = LivePage(Navigation(), ThemeController(application, "light"))
    page.resize(1280, 800)
    page.show()
    page.state_changed.connect(lambda state: None if state.is_running else application.quit())
    page.watch(run)
    application.exec()
    page.close()


if __name__ == "__main__":
    main()
