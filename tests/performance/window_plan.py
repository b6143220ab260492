"""How long the Plan page takes from an edit to the preview on the screen, and to the simulated answer, once warm.

The whole catalogue is planned, as in `tests.performance.planning`: every card is reached by ratio.
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

_EDITS, _SETTLED = 25, 3


def main() -> None:
    application = QApplication([])
    look, collecting = ThemeController(application, "light"), GuiThreadGc(application)
    with tempfile.TemporaryDirectory() as home:
        os.environ["SIZEWISE_HOME"] = home
        page = PlanPage(Navigation(), look)
        page.resize(1440, 900)
        page.show()
        page.enter()
        asked = question()
        path = Path(home) / "plan.yaml"
        write_plan(path, PlanFile("sizewise", plan_fleets(asked, estimate_only=True), asked))
        page.open_sources((path,))
        presenter = page.presenter
        _wait(application, lambda: presenter.state.phase == "simulated" and presenter.state.simulator_status == "ready")
        presenter.set_simulation_delay(600_000)
        _tell("preview on the screen", _EDITS, lambda place: _preview_ms(application, page, place))
        presenter.set_simulation_delay(SIMULATION_DELAY_MS)
        _tell("simulated answer, after the quiet", _SETTLED, lambda place: _settled_ms(application, page, place))
        QThreadPool.globalInstance().waitForDone()
        page.close()
    collecting.stop()


def _preview_ms(application: QApplication, page: PlanPage, place: int) -> float:
    """The slider is moved; the simulation is held off, as it is while a slider is dragged."""
    state = page.presenter.state
    before = state.plan
    began = time.perf_counter()
    page.workbench.inputs.traffic.peak.slider.setValue(500 + 4 * (place + 1))
    _wait(application, lambda: page.presenter.state.plan is not before and _is_current(page))
    application.processEvents()
    return 1000 * (time.perf_counter() - began)


def _settled_ms(application: QApplication, page: PlanPage, place: int) -> float:
    began = time.perf_counter()
    page.workbench.inputs.traffic.peak.slider.setValue(300 + 20 * place)
    _wait(application, lambda: _is_current(page) and page.presenter.state.phase == "simulated")
    return 1000 * (time.perf_counter() - began) - SIMULATION_DELAY_MS


def _is_current(page: PlanPage) -> bool:
    return page.presenter.state.is_current


def _wait(application: QApplication, condition: Callable[[], bool]) -> None:
    """Asleep between events: whoever spins here takes the interpreter from the thread that plans."""
    while not condition():
        application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


def _tell(what: str, times: int, edit_ms: Callable[[int], float]) -> None:
    """By the clock, and by the processor, which other work beside it does not take part of."""
    taken_ms, worked_ms = [], []
    for place in range(times):
        worked = time.process_time()
        taken_ms.append(edit_ms(place))
        worked_ms.append(1000 * (time.process_time() - worked))
    for of, found_ms in (("", taken_ms), (", processor time of all threads", worked_ms)):
        print(f"{what}{of}: median {statistics.median(found_ms):.0f} ms, worst {max(found_ms):.0f} ms of {times}")


if __name__ == "__main__":
    main()
