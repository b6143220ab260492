from __future__ import annotations

import pytest

from tests.processors import AVX2, AVX512, SETTINGS, build_environment, explain_skip


@pytest.mark.parametrize(
    ("features", "run"), [({AVX2: True, AVX512: True}, 5), ({AVX2: True, AVX512: False}, 3), ({}, 1)]
)
def test_setting_unsupported_by_processor_is_skipped(features: dict[str, bool], run: int) -> None:
    assert sum(explain_skip(setting, features) is None for setting in SETTINGS) == run


def test_environment_has_only_variables_of_its_setting() -> None:
    surroundings = {"HOME": "/home/user", "OPENBLAS_CORETYPE": "Zen", "OPENBLAS_L2_SIZE": "512"}
    for setting in SETTINGS:
        assert build_environment(setting, surroundings) == {"HOME": "/home/user"} | setting.variables
