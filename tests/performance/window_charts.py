"""How fast charts of an hour pan and zoom: `python -m tests.performance.window_charts`.

Eight curves of an hour at 10 Hz in four linked charts of a window of 1280×800, panned and zoomed as by a user and
painted after each move. Takes ten seconds.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtWidgets import QApplication

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.linked import LinkedCharts
from app.gui.theme import ThemeController

HOUR_S, RATE_HZ = 3600, 10
CHARTS, CURVES_A_CHART = 4, 2
FRAMES = 200


def create_charts(theme: ThemeController) -> LinkedCharts:
    time_axis = Axis("Time", "s")
    linked = LinkedCharts([Chart(f"Chart {n}", time_axis, Axis("Value", "ms"), theme) for n in range(CHARTS)])
    linked.resize(1280, 800)
    linked.show()
    return linked


def paint(application: QApplication) -> None:
    application.processEvents()  # the new data is drawn and painted in the next turns
    application.processEvents()


def measure_frames(application: QApplication, theme: ThemeController) -> None:
    linked = create_charts(theme)
    x = np.arange(0.0, HOUR_S, 1 / RATE_HZ)
    numbers = np.random.default_rng(1)
    for chart in linked.charts:
        for curve in range(CURVES_A_CHART):
            walk = np.abs(numbers.standard_normal(len(x)).cumsum())
            chart.set_line(f"{curve}", f"curve {curve}", x, walk, style_index=curve)
    paint(application)
    viewing = linked.charts[0].view_range
    for action in ("zoom", "pan"):
        frames_ms, cpu_s = [], time.process_time()
        for frame in range(FRAMES):
            started_s = time.perf_counter()
            if action == "zoom":
                viewing.zoom(0.97 if frame < FRAMES / 2 else 1 / 0.97, HOUR_S / 3, 0.0)
            else:
                viewing.pan(HOUR_S / FRAMES * (1 if frame < FRAMES / 2 else -1), 0.0)
            paint(application)
            frames_ms.append(1e3 * (time.perf_counter() - started_s))
        median, worst = np.percentile(frames_ms, [50, 99])
        cpu_ms = 1e3 * (time.process_time() - cpu_s) / FRAMES
        print(f"{action:5} {median:6.1f} ms a frame, p99 {worst:.1f} ms, CPU {cpu_ms:.1f} ms    must: ≤ 16 ms")
    linked.deleteLater()


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    application = QApplication([])
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    measure_frames(application, ThemeController(application, "light"))


if __name__ == "__main__":
    main()
