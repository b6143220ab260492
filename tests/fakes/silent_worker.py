"""A child of the engine's that is silent: busy for so many seconds before it is ready, or idle for ever."""

from __future__ import annotations

import os
import sys
import time

from loadgen.frames import message_frame
from loadgen.records import Ready


def main() -> None:
    busy_s = float(os.environ["BUSY_S"])
    while busy_s == 0:
        time.sleep(60)
    until_s = time.process_time() + busy_s
    while time.process_time() < until_s:
        pass
    sys.stdout.buffer.write(message_frame(Ready(0, "", "")))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
