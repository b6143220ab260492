"""Fuzzes every reader of foreign input: `python -m tests.fuzz [--seconds 600] [--seed 1] [TARGET…]`.

The time is shared evenly among the targets, one process each. The input of a defect is written to `--artifacts`; once
the defect is mended, keep it as `tests/fuzz/corpus/TARGET/NAME`, which every later run and the test suite replay.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
TARGETS = sorted(path.stem for path in HERE.glob("targets/*.py"))
MEMORY_MIB = 2048
LONGEST_INPUT = 64 << 10
_GRACE_S = 180.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every reader of foreign input.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all targets together (default 600)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--artifacts", type=Path, default=Path("fuzz-artifacts"), help="folder for inputs that failed")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.targets) - set(TARGETS)):
        parser.error(f"unknown target {unknown[0]!r}: choose from {', '.join(TARGETS)}")
    if importlib.util.find_spec("atheris") is None:
        print("Fuzzing needs atheris, which exists for Linux on x86_64 and Python up to 3.13.", file=sys.stderr)
        return 3
    names = arguments.targets or TARGETS
    share_s = arguments.seconds / len(names)
    passed = [fuzz(name, share_s, arguments.seed, arguments.artifacts) for name in names]
    print(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed")
    return 0 if all(passed) else 1


def fuzz(name: str, seconds: float, seed: int, artifacts: Path) -> bool:
    """Fuzz a target in its own process, print a line, and return whether it had no defect."""
    artifacts.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as folder:
        stored_inputs = CORPUS / name
        options = [
            f"-max_total_time={max(1, round(seconds))}",
            f"-seed={seed}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-max_len={LONGEST_INPUT}",
            f"-artifact_prefix={artifacts.resolve()}/{name}-",
            "-timeout=60",
            "-print_final_stats=1",
        ]
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.worker",
            name,
            folder,
            *options,
            *([str(stored_inputs)] * stored_inputs.is_dir()),
        ]
        try:
            done = subprocess.run(
                command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=seconds + _GRACE_S
            )
        except subprocess.TimeoutExpired:
            print(f"{name}: FAILED, still running {_GRACE_S:g} s after its time", flush=True)
            return False
    inputs = re.search(r"number_of_executed_units: +(\d+)", done.stderr)
    peak = re.search(r"peak_rss_mb: +(\d+)", done.stderr)
    figures = f"{inputs[1] if inputs else 'no'} inputs, peak memory {peak[1] if peak else 'n/a'} MiB"
    if done.returncode == 0 and inputs:
        print(f"{name}: ok, {figures}", flush=True)
        return True
    print(f"{name}: FAILED with exit code {done.returncode}, {figures}", flush=True)
    print(done.stdout[-4000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
    return False


if __name__ == "__main__":
    sys.exit(main())
