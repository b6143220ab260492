"""How much two hours of live charts grow: `python -m tests.performance.window_growth`.

Eight curves at 10 Hz through a ring of five minutes into four linked charts, replayed under a clock of their own;
what is grown is the process. Takes half a minute.
"""

from __future__ import annotations

import argparse

import numpy as np
import psutil
from PySide6.QtWidgets import QApplication

from app.gui.charts.ring_buffer import RingBuffer
from app.gui.theme import ThemeController
from tests.performance.window_charts import CHARTS, CURVES_A_CHART, RATE_HZ, create_charts, paint

LIVE_S, SHOWN_S = 7200, 300
PAINTED_EVERY_S = 10
"""Ten paintings a second would take two hours."""


def measure_growth(application: QApplication) -> None:
    linked = create_charts(ThemeController(application, "light"))
    names = [f"curve {curve}" for curve in range(CHARTS * CURVES_A_CHART)]
    ring = RingBuffer(SHOWN_S * RATE_HZ, names)
    linked.follow(SHOWN_S)
    process, numbers = psutil.Process(), np.random.default_rng(1)
    before = 0
    for sample in range(LIVE_S * RATE_HZ):
        ring.append(sample / RATE_HZ, *numbers.random(len(names)))
        if sample % (PAINTED_EVERY_S * RATE_HZ):
            continue
        for index, name in enumerate(names):
            chart = linked.charts[index // CURVES_A_CHART]
            chart.set_line(name, name, ring.x, ring.column(name), style_index=index % CURVES_A_CHART)
        paint(application)
        if sample == SHOWN_S * RATE_HZ:  # the rings are full, every cache is warm
            before = process.memory_info().rss
    grown_mib = (process.memory_info().rss - before) / 2**20
    print(f"two hours of live view grew {grown_mib:.1f} MiB    must: ≤ 20 MiB")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    measure_growth(QApplication([]))


if __name__ == "__main__":
    main()
