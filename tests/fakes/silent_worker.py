"""A silent child of the engine: it uses BUSY_S seconds of processor time before it is ready; 0 means that it waits
forever. BUSY_SHARE is its share of one core meanwhile."""

from __future__ import annotations

import os
import sys
import time

from loadgen.frames import encode_message_frame
from loadgen.records import Ready

_BURST_S = 0.03


def main() -> None:
    busy_s = float(os.environ["BUSY_S"])
    while busy_s == 0:
        time.sleep(60)
    share = float(os.environ["BUSY_SHARE"])
    until_s = time.process_time() + busy_s
    while time.process_time() < until_s:
        burst_s = time.process_time() + _BURST_S
        while time.process_time() < burst_s:
            pass
        time.sleep(_BURST_S * (1 / share - 1))
    sys.stdout.buffer.write(encode_message_frame(Ready(0, "", "")))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
