"""Effect of the live view on a run: `python -m tests.performance.window_watched [--pairs N] [--seconds S]`.

Interleaved pairs of runs: one headless, one displayed live by a window process, offscreen. The budget: the rates
differ by at most 2 %, and the p99 by no more than two headless runs differ from each other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median

import msgspec

from app.storage.run_directory import EVENTS, StoredRun
from tests.fakes.program import Sizewise, wait_until
from tests.performance.pairs import load_average

PROFILE = """sizewise: 1
name: watched
target: {{protocol: http, scripted: {{delay: 5ms, spread: 0.3, parallel: 16}}}}
workload: {{body: {{a: 1}}}}
load: {{warmup: 1s, stages: [{{name: steady, arrivals: poisson, rate: 200/s, duration: {seconds}s}}]}}
"""
MAX_RATE_DIFFERENCE = 0.02


class RunResult(msgspec.Struct, frozen=True):
    completed_per_s: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watch is not None:
        watch(arguments.watch)
        return
    print(load_average())
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "profile.yaml").write_text(PROFILE.format(seconds=arguments.seconds))
        headless: list[RunResult] = []
        watched: list[RunResult] = []
        for number in range(arguments.pairs):
            order = ((headless, False), (watched, True)) if number % 2 == 0 else ((watched, True), (headless, False))
            for into, is_watched in order:
                into.append(measure_run(home, f"{number}-{is_watched}", is_watched=is_watched))
    print_comparison(headless, watched)


def measure_run(home: Path, name: str, *, is_watched: bool) -> RunResult:
    run = home / name
    engine = Sizewise(home, home).start("run", str(home / "profile.yaml"), "--out", str(run))
    window = None
    try:
        wait_until(lambda: (run / EVENTS).exists())
        if is_watched:
            window = subprocess.Popen(
                [sys.executable, "-m", "tests.performance.window_watched", "--watch", str(run)],
                env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
            )
        engine.communicate(timeout=300)
        if window is not None:
            window.wait(timeout=60)
    finally:
        for process in (engine, window):
            if process is not None:
                process.kill()
    result = StoredRun(run).result
    assert result is not None, f"{name} has no result"
    (stage,) = [candidate for candidate in result.stages if candidate.name == "steady"]
    rate, p99 = stage.metrics["completed_per_s"]["value"].value, stage.metrics["latency_ms"]["p99"].value
    assert rate is not None, f"{name} has no rate"
    assert p99 is not None, f"{name} is too short for a p99"
    return RunResult(rate, p99)


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


def print_comparison(headless: list[RunResult], watched: list[RunResult]) -> None:
    rates = [b.completed_per_s / a.completed_per_s for a, b in zip(headless, watched, strict=True)]
    p99s = [b.p99_ms / a.p99_ms for a, b in zip(headless, watched, strict=True)]
    headless_ratios = [max(a.p99_ms / b.p99_ms, b.p99_ms / a.p99_ms) for a, b in pairwise(headless)]
    print(f"rate, watched to headless: {100 * median(rates):.2f} % ({100 * min(rates):.2f} to {100 * max(rates):.2f})")
    print(f"p99, watched to headless: {median(p99s):.3f} ({min(p99s):.3f} to {max(p99s):.3f})")
    print(f"p99, headless to headless: up to {max(headless_ratios, default=1.0):.3f}")
    is_within = abs(median(rates) - 1) <= MAX_RATE_DIFFERENCE and median(p99s) <= max(headless_ratios, default=1.0)
    print("within the budget" if is_within else "NOT within the budget")


if __name__ == "__main__":
    main()
