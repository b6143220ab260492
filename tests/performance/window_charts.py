"""How fast charts of an hour pan and zoom: `python -m tests.performance.window_charts [--rings]`.

Eight curves of an hour at 10 Hz in four linked charts, panned and zoomed as by a user and painted after each move.
`--rings`: only how much two hours of live charts grow, replayed under a clock of their own, as memory of the process.
Takes some 15 s, and 40 s with the rings.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import psutil
from PySide6.QtWidgets import QApplication

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.linked import LinkedCharts
from app.gui.charts.ring import Ring
from app.gui.theme import Look

HOUR_S, RATE_HZ = 3600, 10
CHARTS, CURVES_A_CHART = 4, 2
FRAMES = 200
LIVE_S, SHOWN_S = 2 * HOUR_S, 300
PAINTED_EVERY = 10
"""Of the samples of two hours; ten a second would take two hours' painting."""


def charts(look: Look) -> LinkedCharts:
    time_axis = Axis("Time", "s")
    made = LinkedCharts([Chart(f"Chart {n}", time_axis, Axis("Value", "ms"), look) for n in range(CHARTS)])
    made.resize(1280, 800)
    made.show()
    return made


def paint(application: QApplication) -> None:
    application.processEvents()  # what was given is drawn and painted on the next turns
    application.processEvents()


def measure_frames(application: QApplication, look: Look) -> None:
    linked = charts(look)
    x = np.arange(0.0, HOUR_S, 1 / RATE_HZ)
    numbers = np.random.default_rng(1)
    for chart in linked.charts:
        for curve in range(CURVES_A_CHART):
            walk = np.abs(numbers.standard_normal(len(x)).cumsum())
            chart.set_line(f"{curve}", f"curve {curve}", x, walk, series=curve)
    paint(application)
    viewing = linked.charts[0].viewing
    for what in ("zoom", "pan"):
        frames_ms, cpu_s = [], time.process_time()
        for frame in range(FRAMES):
            started_s = time.perf_counter()
            if what == "zoom":
                viewing.zoom(0.97 if frame < FRAMES / 2 else 1 / 0.97, HOUR_S / 3, 0.0)
            else:
                viewing.pan(HOUR_S / FRAMES * (1 if frame < FRAMES / 2 else -1), 0.0)
            paint(application)
            frames_ms.append(1e3 * (time.perf_counter() - started_s))
        median, worst = np.percentile(frames_ms, [50, 99])
        cpu_ms = 1e3 * (time.process_time() - cpu_s) / FRAMES
        print(f"{what:5} {median:6.1f} ms a frame, p99 {worst:.1f} ms, CPU {cpu_ms:.1f} ms    must: ≤ 16 ms")
    linked.deleteLater()


def measure_growth(application: QApplication, look: Look) -> None:
    linked = charts(look)
    names = [f"curve {curve}" for curve in range(CHARTS * CURVES_A_CHART)]
    ring = Ring(SHOWN_S * RATE_HZ, names)
    linked.follow(SHOWN_S)
    process, numbers = psutil.Process(), np.random.default_rng(1)
    before = 0
    for sample in range(LIVE_S * RATE_HZ):
        ring.append(sample / RATE_HZ, *numbers.random(len(names)))
        if sample % (PAINTED_EVERY * RATE_HZ):
            continue
        for place, name in enumerate(names):
            chart = linked.charts[place // CURVES_A_CHART]
            chart.set_line(name, name, ring.x, ring.column(name), series=place % CURVES_A_CHART)
        paint(application)
        if sample == SHOWN_S * RATE_HZ:  # the rings are full, every cache is warm
            before = process.memory_info().rss
    grown_mib = (process.memory_info().rss - before) / 2**20
    print(f"two hours of live view grew {grown_mib:.1f} MiB    must: ≤ 20 MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rings", action="store_true")
    only_rings = parser.parse_args().rings
    application = QApplication([])
    look = Look(application, "light")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if not only_rings:
        measure_frames(application, look)
    measure_growth(application, look)


if __name__ == "__main__":
    main()
