from __future__ import annotations

import os

import pytest

from tests.processors import AVX2, AVX512, SETTINGS, build_environment, explain_skip, read_features


@pytest.mark.parametrize(
    ("features", "run"), [({AVX2: True, AVX512: True}, 5), ({AVX2: True, AVX512: False}, 3), ({}, 1)]
)
def test_setting_unsupported_by_processor_is_skipped(features: dict[str, bool], run: int) -> None:
    assert sum(explain_skip(setting, features) is None for setting in SETTINGS) == run


def test_environment_has_only_variables_of_its_setting() -> None:
    surroundings = {
        "HOME": "/home/user", "NPY_DISABLE_CPU_FEATURES": AVX2, "NPY_ENABLE_CPU_FEATURES": AVX512,
        "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2", "NUMBA_CACHE_DIR": "/tmp/numba",
        "OPENBLAS_CORETYPE": "Zen", "OPENBLAS_L2_SIZE": "512",
    }  # fmt: skip
    for setting in SETTINGS:
        assert build_environment(setting, surroundings) == {"HOME": "/home/user"} | setting.variables


@pytest.mark.process
def test_features_do_not_depend_on_numpy_variables_of_shell() -> None:
    disabled = os.environ | {"NPY_DISABLE_CPU_FEATURES": f"{AVX2} X86_V4 AVX512_ICL AVX512_SPR"}
    assert read_features(disabled) == read_features(os.environ)
    enabled = os.environ | {"NPY_ENABLE_CPU_FEATURES": AVX2, "NPY_DISABLE_CPU_FEATURES": AVX512}
    assert read_features(enabled) == read_features(os.environ)
