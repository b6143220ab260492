"""Runs the unit tier as other processors would compute it: `python -m tests.processors`, in `.ci/nightly`.

numpy, OpenBLAS and numba choose their machine code by the processor, and the last bits of their results differ. Each
setting makes one of them choose code that another processor would run, and leaves the two others as they are without
any setting, whatever the calling shell sets. A setting that needs what this processor does not have, or that only
switches that off, is skipped and reported.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

AVX2, AVX512 = "X86_V3", "X86_V4"
"""numpy's names of what a processor can do."""
_NO_AVX512 = "X86_V4 AVX512_ICL AVX512_SPR"
_NUMBA_CACHE = Path(__file__).parents[1] / "build" / "numba-generic"
_UNIT_TIER = ("-m", "unit", "-p", "no:pytest-qt", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder", "-q")


class Setting(NamedTuple):
    """Environment variables, and the feature without which a processor skips the setting."""

    name: str
    variables: dict[str, str]
    feature: str | None = None


SETTINGS = (
    Setting("numpy without AVX-512", {"NPY_DISABLE_CPU_FEATURES": _NO_AVX512}, AVX512),
    Setting("numpy without AVX2", {"NPY_DISABLE_CPU_FEATURES": f"{AVX2} {_NO_AVX512}"}, AVX2),
    Setting("OpenBLAS for AVX2", {"OPENBLAS_CORETYPE": "Haswell"}, AVX2),
    Setting("OpenBLAS for AVX-512", {"OPENBLAS_CORETYPE": "SkylakeX"}, AVX512),
    Setting("numba for any processor", {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(_NUMBA_CACHE)}),
)
_CHOSEN = {name for setting in SETTINGS for name in setting.variables} | {
    "NPY_ENABLE_CPU_FEATURES", "NUMBA_CPU_FEATURES", "OPENBLAS_L2_SIZE"
}  # fmt: skip
"""Every variable that chooses machine code. numpy refuses to be imported with both of its own."""
_PRINT_FEATURES = "from numpy._core._multiarray_umath import __cpu_features__; print(__cpu_features__)"


def read_features(environment: Mapping[str, str]) -> dict[str, bool]:
    """Return what this processor can do, by numpy's names.

    Another process reads it, without the variables of any setting: numpy reports a feature that one of them disables
    as absent.
    """
    command = (sys.executable, "-c", _PRINT_FEATURES)
    printed = subprocess.run(command, env=clean(environment), check=True, capture_output=True, text=True).stdout
    features: dict[str, bool] = ast.literal_eval(printed)
    return features


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables that choose machine code."""
    return {name: value for name, value in environment.items() if name not in _CHOSEN}


def explain_skip(setting: Setting, features: Mapping[str, bool]) -> str | None:
    """Return why a processor with these features skips the setting; `None` if it does not."""
    if setting.feature is None or features.get(setting.feature):
        return None
    return f"this processor has no {'AVX-512' if setting.feature == AVX512 else 'AVX2'}"


def build_environment(setting: Setting, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the variables of this setting, and of no other."""
    return clean(environment) | setting.variables


def main() -> int:
    features, failed = read_features(os.environ), []
    for setting in SETTINGS:
        if reason := explain_skip(setting, features):
            print(f"{setting.name}: skipped, {reason}", flush=True)
            continue
        print(f"{setting.name}: {setting.variables}", flush=True)
        command = (sys.executable, "-m", "pytest", *_UNIT_TIER)
        if subprocess.run(command, env=build_environment(setting, os.environ), check=False).returncode:
            failed.append(setting.name)
    print(f"failed: {', '.join(failed)}" if failed else "every setting passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
