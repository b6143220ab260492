from __future__ import annotations

import msgspec
import pytest

from tests.fakes.language_models import LLAMA_8B, MIXTRAL


def test_dense_model_reads_all_parameters_for_any_token_count() -> None:
    assert LLAMA_8B.count_parameters_read(1) == LLAMA_8B.count_parameters_read(500) == 8.03e9
    assert LLAMA_8B.parameters_per_token == 8.03e9


def test_one_token_of_mixture_of_experts_reads_active_parameters() -> None:
    assert MIXTRAL.count_parameters_read(1) == pytest.approx(12.9e9)
    assert MIXTRAL.parameters_per_token == 12.9e9


def test_more_tokens_of_mixture_of_experts_read_more_experts() -> None:
    # 8 × (1 − 0.75³) = 4.625 of 8 experts of (46.7 − 12.9) / 6 = 5.633e9 parameters; the rest, 1.633e9, is shared
    assert MIXTRAL.count_parameters_read(3) == pytest.approx(46.7e9 - 3.375 * 33.8e9 / 6)
    assert MIXTRAL.count_parameters_read(200) == pytest.approx(46.7e9)


def test_mixture_with_all_experts_active_reads_all_parameters() -> None:
    all_experts = msgspec.structs.replace(MIXTRAL, experts_per_token=8)
    assert all_experts.count_parameters_read(1) == 46.7e9
