"""Switching pages of a window with runs on all of them: `python -m tests.performance.window_pages`.

The budget: 50 ms at the 95th percentile, from the request to the paint, 20 MiB of growth over 500 switches, and
one second of processor time to change the theme of all pages.
"""

from __future__ import annotations

import os
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import psutil
from PySide6.QtWidgets import QApplication

from app.gui.page import TITLES
from app.gui.theme import ThemeChoice
from app.gui.window import Window
from tests.fakes.golden_runs import golden_run
from tests.gui.screens.rendering import fill, wait_until_idle
from tests.performance.pairs import load_average

SWITCHES, WARM_SWITCHES = 500, 70
SWITCH_MS, BUDGET_MIB, THEME_S = 50.0, 20.0, 1.0
_PAUSE_S = 0.02
"""Time for the timers and the background work of a page, which are not part of a switch."""


def main() -> None:
    from app.gui.main import prepare

    with tempfile.TemporaryDirectory() as folder:
        os.environ["SIZEWISE_HOME"] = folder
        runs = Path(folder) / "runs"
        runs.mkdir()
        opened = tuple(golden_run(name, runs) for name in ("search", "llm"))
        application, window, _ = prepare()
        window.resize(1366, 768)
        window.show()
        fill(window, opened)
        print(load_average())
        times_ms: list[float] = []
        cpu_ms: list[float] = []
        before_mib = 0.0
        for number, key in enumerate(islice(cycle(TITLES), WARM_SWITCHES + SWITCHES)):
            if number == WARM_SWITCHES:
                wait_until_idle()
                before_mib = _resident_mib()
                times_ms.clear()
                cpu_ms.clear()
            start_s, start_cpu_s = time.perf_counter(), time.thread_time()
            window.show_page(key)
            application.processEvents()
            times_ms.append(1000 * (time.perf_counter() - start_s))
            cpu_ms.append(1000 * (time.thread_time() - start_cpu_s))
            time.sleep(_PAUSE_S)
            application.processEvents()
        wait_until_idle()
        grown_mib = _resident_mib() - before_mib
        choices: tuple[ThemeChoice, ...] = ("dark", "light", "dark", "light")
        theme_s = [_theme_change_s(window, choice) for choice in choices]
        window.close_without_question()
    for label, values_ms in (("CPU", cpu_ms), ("wall clock", times_ms)):
        percentiles = ", ".join(f"p{q} {np.percentile(values_ms, q):.1f}" for q in (50, 95, 99))
        print(f"{label:10}: {percentiles}, worst {max(values_ms):.1f} ms; budget p95 {SWITCH_MS:g} ms")
    print(f"{SWITCHES} switches grew by {grown_mib:.1f} MiB, of {BUDGET_MIB:g}")
    print(f"a change of the theme: {min(theme_s):.2f}–{max(theme_s):.2f} s CPU; budget {THEME_S:g}")


def _theme_change_s(window: Window, choice: ThemeChoice) -> float:
    start_s = time.thread_time()
    window.theme_controller.set_choice(choice)
    QApplication.processEvents()
    return time.thread_time() - start_s


def _resident_mib() -> float:
    return float(psutil.Process().memory_info().rss / 2**20)


if __name__ == "__main__":
    main()
    os._exit(0)  # A normal exit would wait for the pool's threads, which wait for this interpreter.
