"""Frame times of the window during a flood of events: `python -m tests.performance.window_flood`.

The budget: a frame of 16 ms, whatever the event rate. A frame is one turn of the event loop with everything that it
paints; its CPU time is what it takes on a machine that has a core for it.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtWidgets import QApplication

from app.gui.live.page import LivePage
from app.gui.navigation import Navigation
from app.gui.theme import ThemeController
from tests.fakes.live_runs import second_of_host, whole_run, write_events, write_telemetry
from tests.performance.pairs import load_average

STAGES, STAGE_S, EVERY_S = 50, 100.0, 0.1
FRAME_MS = 16.0
WARM_UP_S = 1.0
_IDLE_TURN_S = 0.0002


def main() -> None:
    application = QApplication([])
    print(load_average())
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        count = write_events(run, whole_run(STAGES, STAGE_S, every_s=EVERY_S))
        write_telemetry(run, map(second_of_host, range(300)))
        page = LivePage(Navigation(), ThemeController(application, "light"))
        page.resize(1280, 800)
        page.show()
        page.watch(run)
        frames, duration_s = measure_frames(application, page)
        page.close()
    print(f"{count:,} events in {duration_s:.1f} s, {len(frames)} frames")
    for label, times_ms in (("CPU", [cpu for cpu, _ in frames]), ("wall clock", [wall for _, wall in frames])):
        percentiles = ", ".join(f"p{q} {np.percentile(times_ms, q):.1f}" for q in (50, 90, 99))
        over = np.mean(np.array(times_ms) > FRAME_MS)
        print(f"{label:10}: {percentiles}, worst {max(times_ms):.1f} ms; {100 * over:.1f} % over {FRAME_MS:g} ms")


def measure_frames(application: QApplication, page: LivePage) -> tuple[list[tuple[float, float]], float]:
    """Duration in ms of each turn of the event loop, CPU and wall clock, until all events are handled, without the
    first second, which imports modules."""
    frames: list[tuple[float, float]] = []
    start_s = time.perf_counter()
    while page.state.status != "finished":
        before_s, cpu_s = time.perf_counter(), time.thread_time()
        application.processEvents()
        after_s, used_s = time.perf_counter(), time.thread_time() - cpu_s
        if after_s - start_s > WARM_UP_S and used_s > _IDLE_TURN_S:
            frames.append((1000 * used_s, 1000 * (after_s - before_s)))
        time.sleep(0.001)
    return frames, time.perf_counter() - start_s


if __name__ == "__main__":
    main()
