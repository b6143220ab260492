"""`make bench`: every benchmark in turn, printed and never gated. `--full` asks for the long forms."""

from __future__ import annotations

import subprocess
import sys

BENCHES = ("load_worker", "streams", "telemetry", "analysis", "command_line")
WITH_LONG_FORM = ("load_worker", "streams")


def main() -> int:
    failed = 0
    for bench in BENCHES:
        print(f"\n== {bench}", flush=True)
        takes_full = bench in WITH_LONG_FORM and "--full" in sys.argv[1:]
        command = [sys.executable, "-m", f"tests.performance.{bench}", *(["--full"] if takes_full else [])]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
