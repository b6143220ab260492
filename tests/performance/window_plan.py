"""How long the Plan page takes from an edit to the displayed estimate, and to the simulated plan, once warm.

The whole catalog is planned, as in `tests.performance.planning`: all GPUs are extrapolated by ratio.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEventLoop, QThreadPool
from PySide6.QtWidgets import QApplication

from app.gui.gui_thread_gc import GuiThreadGc
from app.gui.navigation import Navigation
from app.gui.plan.page import PlanPage
from app.gui.plan.presenter import SIMULATION_DELAY_MS
from app.gui.theme import ThemeController
from app.planning.fleets import plan_fleets
from app.wiring.plan_files import PlanFile, write_plan
from tests.performance.planning import question

_EDITS, _SIMULATIONS = 25, 3


def main() -> None:
    application = QApplication([])
    theme, collector = ThemeController(application, "light"), GuiThreadGc(application)
    with tempfile.TemporaryDirectory() as home:
        os.environ["SIZEWISE_HOME"] = home
        page = PlanPage(Navigation(), theme)
        page.resize(1440, 900)
        page.show()
        page.enter()
        inputs = question()
        path = Path(home) / "plan.yaml"
        write_plan(path, PlanFile("sizewise", plan_fleets(inputs, estimate_only=True), inputs))
        page.open_sources((path,))
        presenter = page.presenter
        _wait(application, lambda: presenter.state.phase == "simulated" and presenter.state.simulator_status == "ready")
        presenter.set_simulation_delay(600_000)
        _print_durations("displayed estimate", _EDITS, lambda index: _measure_estimate_ms(application, page, index))
        presenter.set_simulation_delay(SIMULATION_DELAY_MS)
        _print_durations(
            "simulated plan, after the delay",
            _SIMULATIONS,
            lambda index: _measure_simulation_ms(application, page, index),
        )
        QThreadPool.globalInstance().waitForDone()
        page.close()
    collector.stop()


def _measure_estimate_ms(application: QApplication, page: PlanPage, index: int) -> float:
    """Move the slider; the simulation is postponed, as it is while a user drags a slider."""
    state = page.presenter.state
    before = state.plan
    start_s = time.perf_counter()
    page.workbench.inputs.traffic.peak.slider.setValue(500 + 4 * (index + 1))
    _wait(application, lambda: page.presenter.state.plan is not before and _is_current(page))
    application.processEvents()
    return 1000 * (time.perf_counter() - start_s)


def _measure_simulation_ms(application: QApplication, page: PlanPage, index: int) -> float:
    start_s = time.perf_counter()
    page.workbench.inputs.traffic.peak.slider.setValue(300 + 20 * index)
    _wait(application, lambda: _is_current(page) and page.presenter.state.phase == "simulated")
    return 1000 * (time.perf_counter() - start_s) - SIMULATION_DELAY_MS


def _is_current(page: PlanPage) -> bool:
    return page.presenter.state.is_current


def _wait(application: QApplication, condition: Callable[[], bool]) -> None:
    """Sleep between events: a busy loop would take the interpreter from the planning thread."""
    while not condition():
        application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


def _print_durations(label: str, times: int, edit_ms: Callable[[int], float]) -> None:
    """Print the durations by the clock, and by processor time, which other work does not change."""
    durations_ms, cpu_ms = [], []
    for index in range(times):
        start_s = time.process_time()
        durations_ms.append(edit_ms(index))
        cpu_ms.append(1000 * (time.process_time() - start_s))
    for suffix, values_ms in (("", durations_ms), (", processor time of all threads", cpu_ms)):
        print(
            f"{label}{suffix}: median {statistics.median(values_ms):.0f} ms, worst {max(values_ms):.0f} ms of {times}"
        )


if __name__ == "__main__":
    main()
