"""Memory growth of two hours of live view: `python -m tests.performance.window_two_hours`.

The budget: 20 MiB. The run has four snapshots and ten readings of the machine per second, on a simulated clock:
ten seconds at a time, each painted. Memory allocated in the first minute does not count.
"""

from __future__ import annotations

import os
import time
from itertools import groupby

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import psutil
from PySide6.QtWidgets import QApplication

from app.gui.live.body import LiveBody
from app.gui.live.presenter import LivePresenter
from app.gui.theme import ThemeController
from app.records.events import Event
from tests.fakes.live_runs import ZERO_NS, S, second_of_host, whole_run
from tests.performance.pairs import load_average

HOURS, STAGE_S, STEP_S = 2, 60.0, 10
WARM_S = 60
BUDGET_MIB = 20


def main() -> None:
    application = QApplication([])
    theme, now = ThemeController(application, "light"), [ZERO_NS]
    presenter, body = LivePresenter(now_ns=lambda: now[0]), LiveBody(theme)
    body.resize(1280, 800)
    body.show()
    body.begin(presenter)
    print(load_average())
    stages = int(HOURS * 3600 / STAGE_S)
    start_s, before_mib, count = time.perf_counter(), 0.0, 0
    for step, events in groupby(whole_run(stages, STAGE_S), key=_step):
        count += _handle_events(presenter, step, list(events))
        now[0] = ZERO_NS + (step + 1) * STEP_S * S
        body.mark_changed(frozenset(presenter.changed_parts))
        presenter.changed_parts.clear()
        body.show_state(presenter.state())
        _paint(application, body)
        if step * STEP_S <= WARM_S:
            before_mib = _resident_mib()
    grown_mib = _resident_mib() - before_mib
    body.close()
    print(f"{count:,} events of {HOURS} hours in {time.perf_counter() - start_s:.0f} s")
    print(f"grew by {grown_mib:.1f} MiB, of {BUDGET_MIB}")


def _handle_events(presenter: LivePresenter, step: int, events: list[Event]) -> int:
    for event in events:
        presenter.handle_event(event)
    for second in range(step * STEP_S, (step + 1) * STEP_S):
        presenter.handle_readings(second_of_host(second))
    return len(events)


def _paint(application: QApplication, body: LiveBody) -> None:
    """Process events until all changed parts are painted."""
    application.processEvents()
    while body.is_painting:
        time.sleep(0.005)
        application.processEvents()


def _step(event: Event) -> int:
    return (event.at_ns - ZERO_NS) // (STEP_S * S)


def _resident_mib() -> float:
    return float(psutil.Process().memory_info().rss / 2**20)


if __name__ == "__main__":
    main()
