"""From the command to the window's first paint, as `sizewise gui` starts it, each time in a new process.

On the offscreen platform, without the time of a graphics stack.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from tests.performance.pairs import load_average

_STARTS = 7
_CHILD = """
import sys, time
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from app.gui.background import queue_work
from app.gui.main import prepare
queue_work()
application, window, _ = prepare()
window.show()
application.processEvents()
print(time.monotonic() - float(sys.argv[1]))
for room in ("pandas", "pyarrow", "numba", "scipy", "onnxruntime", "altair"):
    print(room, room in sys.modules, file=sys.stderr)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "SIZEWISE_HOME": home}
        seconds, loaded = [], ""
        for _ in range(_STARTS):
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, str(time.monotonic())],
                env=environment, capture_output=True, text=True, check=True, timeout=60,
            )  # fmt: skip
            seconds.append(float(done.stdout))
            loaded = ", ".join(line.split()[0] for line in done.stderr.splitlines() if line.endswith(" True"))
    usual_s = statistics.median(seconds[1:])
    print(load_average())
    print(
        f"first start {seconds[0]:.2f} s, then {usual_s:.2f} s ({min(seconds):.2f}–{max(seconds[1:]):.2f}); budget 1.0"
    )
    print(f"heavy libraries loaded by then: {loaded or 'none'}")


if __name__ == "__main__":
    main()
