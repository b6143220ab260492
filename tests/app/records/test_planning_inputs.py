from __future__ import annotations

from tests.fakes.language_models import LLAMA_8B, MIXTRAL


def test_parameters_per_token_are_all_of_a_dense_model_and_the_active_ones_of_a_mixture_of_experts() -> None:
    assert LLAMA_8B.parameters_per_token == 8.03e9
    assert MIXTRAL.parameters_per_token == 12.9e9
