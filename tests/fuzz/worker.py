"""Fuzzes one target in this process: `python -m tests.fuzz.worker TARGET SEEDS [libFuzzer option or folder…]`.

SEEDS is an empty folder for the inputs to start from and those found. libFuzzer ends the process at a signal, at an
exception that is no typed refusal, and above its memory limit; the input is then in an artifact file.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from pathlib import Path

import atheris

from app.errors import SizewiseError

CPU_LIMIT_S = 5.0


def main() -> None:
    name, folder, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["app", "loadgen"]):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    for number, content in enumerate(target.seeds()):
        (Path(folder) / f"seed-{number:03}").write_bytes(content)

    def read_one(data: bytes) -> None:
        began_s = time.process_time()
        with contextlib.suppress(SizewiseError):
            target.read(data)
        if (cpu_s := time.process_time() - began_s) > CPU_LIMIT_S:
            raise TimeoutError(f"{name} took {cpu_s:.1f} s of processor time for {len(data)} bytes")

    atheris.Setup([sys.argv[0], *options, folder], read_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
