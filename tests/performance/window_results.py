"""The result page with a run of a million requests: opened, reevaluated in a window, sorted, filtered, scrolled.

`python -m tests.performance.window_results [--rows N]`. The run is written as a load worker ships it, by the real
session on a clock of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import msgspec
import numpy as np
from PySide6.QtCore import QCoreApplication, QEvent, QEventLoop, Qt
from PySide6.QtWidgets import QApplication

from app.gui.gui_thread_gc import GuiThreadGc
from app.gui.navigation import Navigation
from app.gui.results.page import ResultsPage
from app.gui.theme import ThemeController
from app.session.spec import LimitSpec, StageSpec
from loadgen.records import StageLoad
from tests.fakes.bench import SPEC, poisson
from tests.fakes.clock import FakeClock
from tests.fakes.stored_runs import stored_run
from tests.performance.rows import PipedLoad, child

ROWS, RATE_PER_S = 1_000_000, 10_000.0
STEPS = 200
TIMEOUT_S = 120.0


def wait(condition: Callable[[], bool]) -> float:
    """Process events until the condition is true, and return the seconds."""
    start = time.perf_counter()
    while not condition():
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 20)
        if time.perf_counter() - start > TIMEOUT_S:
            raise RuntimeError("the condition was not met in time")
    QCoreApplication.processEvents()
    return time.perf_counter() - start


def write_run(directory: Path, rows: int) -> None:
    clock = FakeClock(time.perf_counter_ns())
    stage = StageSpec("plain", "steady", StageLoad(poisson(RATE_PER_S), rows / RATE_PER_S))
    spec = msgspec.structs.replace(SPEC, stages=(stage,), limits=LimitSpec(requests=rows))
    with child() as pipes:
        stored_run(directory, spec, PipedLoad(clock, pipes), clock=clock)


def measure(application: QApplication, directory: Path) -> None:
    page, collector = ResultsPage(Navigation(), ThemeController(application, "light")), GuiThreadGc(application)
    page.resize(1280, 800)
    page.show()
    opened: list[object] = []
    page.presenter.opened.connect(opened.append)
    start = time.perf_counter()
    page.open_run(directory)
    wait(lambda: bool(opened))
    print(f"open: {time.perf_counter() - start:.2f} s from the click to the numbers, imports with it")
    content = page.content()
    reevaluated: list[object] = []
    page.presenter.reevaluated.connect(reevaluated.append)
    middle = page.presenter.displayed_run.own_report.stages[0]  # type: ignore[union-attr]
    requested_changes: dict[str, Callable[[], object]] = {
        "window of half": lambda: page.presenter.request_window((middle.start_s, (middle.start_s + middle.end_s) / 2)),
        "another SLO, whole run": lambda: page.presenter.request_slo(("latency_ms.p95 < 5",)),
        "as measured": page.presenter.reset,
    }
    for name, request in requested_changes.items():
        if name.startswith("another"):
            page.presenter.reset()
            wait(lambda: not page.presenter.is_busy)
        reevaluated.clear()
        start, busy = time.perf_counter(), time.process_time()
        request()
        wait(lambda: bool(reevaluated))
        durations = f"{time.perf_counter() - start:.2f} s, {time.process_time() - busy:.2f} s of CPU"
        print(f"reevaluated, {name}: {durations}, painted")
    requests = content.requests_tab
    content.tabs.setCurrentWidget(requests)
    print(f"requests: {wait(lambda: requests.model.rowCount() > 0):.2f} s until they are listed, slowest first")
    actions: dict[str, Callable[[], object]] = {
        "sort by latency": lambda: requests.table.sortByColumn(2, Qt.SortOrder.AscendingOrder),
        "sort by time": lambda: requests.table.sortByColumn(0, Qt.SortOrder.AscendingOrder),
        "filter by least latency": lambda: requests.min_latency_field.setText("0.5"),
    }
    for name, action in actions.items():
        start = time.perf_counter()
        action()
        QCoreApplication.processEvents()
        print(f"{name}: {1e3 * (time.perf_counter() - start):.0f} ms")
    requests.min_latency_field.setText("")
    scroll(requests.table.verticalScrollBar())
    collector.stop()
    page.close()
    page.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def scroll(bar: object) -> None:
    steps = []
    for position in np.linspace(0, bar.maximum(), STEPS).astype(int):  # type: ignore[attr-defined]
        start = time.perf_counter()
        bar.setValue(int(position))  # type: ignore[attr-defined]
        QCoreApplication.processEvents()
        steps.append(1e3 * (time.perf_counter() - start))
    print(f"scroll: median {np.median(steps):.1f} ms, worst {max(steps):.1f} ms of {STEPS} steps    must: ≤ 50 ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    application = QApplication([])
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder) / "run", rows)
        measure(application, Path(folder) / "run")


if __name__ == "__main__":
    main()
