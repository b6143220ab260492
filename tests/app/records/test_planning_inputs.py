from __future__ import annotations

from app.records.planning_inputs import Alternatives, AssumedModel, Engine, Precision
from tests.fakes.language_models import LLAMA_8B, MIXTRAL


def test_parameters_per_token_are_all_of_a_dense_model_and_the_active_ones_of_a_mixture_of_experts() -> None:
    assert LLAMA_8B.parameters_per_token == 8.03e9
    assert MIXTRAL.parameters_per_token == 12.9e9


def test_model_without_alternatives_is_served_as_it_states() -> None:
    model = AssumedModel("llama", LLAMA_8B, Precision("int4", "fp16", "fp8"), Engine("sglang", "0.5.0"))
    assert model.served_models == (model,)


def test_each_alternative_precision_is_served_by_each_engine() -> None:
    engine = Engine("vllm", "0.19.0", max_sequences=64)
    alternatives = Alternatives(("fp8", "bf16", "int4"), ("trtllm", "vllm"))
    model = AssumedModel("llama", LLAMA_8B, Precision("bf16", "fp16", "fp8"), engine, alternatives)
    served = [(each.precision, each.engine) for each in model.served_models]
    trtllm = Engine("trtllm", max_sequences=64)
    precisions = (Precision("bf16", "fp16", "fp8"), Precision("fp8", "fp8", "fp8"), Precision("int4", "bf16", "fp8"))
    assert served == [(precision, each) for precision in precisions for each in (engine, trtllm)]
    assert {each.alternatives for each in model.served_models} == {Alternatives()}
