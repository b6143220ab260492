from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import helper

from app.errors import UsageError
from app.inference.inspection.packed_weights import count_packed_parameters
from app.inference.inspection.reading import Step


def count(operator: str, inputs: list[str], sizes: dict[str, int], **attributes: Any) -> dict[str, int]:
    node: onnx.NodeProto = helper.make_node(operator, inputs, ["y"], "node", domain="com.microsoft", **attributes)
    return count_packed_parameters([Step(node, tuple(inputs), ("y",))], sizes.get)


def test_packed_matrix_has_k_times_n_parameters_and_scales_have_none() -> None:
    counts = count("MatMulNBits", ["x", "w", "scales", "points"], {"w": 64 * 48}, K=64, N=96, bits=4)
    assert counts == {"w": 64 * 96, "scales": 0, "points": 0}


@pytest.mark.parametrize(("k", "n", "bits"), [(2**62, 2**62, 4), (64, 97, 4), (0, 96, 4), (64, 96, -4), (64, 96, 8)])
def test_packed_matrix_that_does_not_match_its_weights_is_rejected(k: int, n: int, bits: int) -> None:
    with pytest.raises(UsageError, match="do not match its weights"):
        count("MatMulNBits", ["x", "w", "scales"], {"w": 64 * 48}, K=k, N=n, bits=bits)


def test_packed_embeddings_and_experts_have_two_4_bit_values_per_byte() -> None:
    assert count("GatherBlockQuantized", ["w", "ids", "scales"], {"w": 100}) == {"w": 200, "scales": 0}
    experts = ["x", "router", "fc1", "s1", "", "fc2", "s2"]
    counts = count("QMoE", experts, {"fc1": 80, "fc2": 40}, expert_weight_bits=4, k=2)
    assert (counts["fc1"], counts["fc2"], counts["s1"], counts["s2"]) == (160, 80, 0, 0)
    assert count("QMoE", experts, {"fc1": 80}, expert_weight_bits=8)["fc1"] == 80


def test_rotary_embedding_tables_are_not_parameters() -> None:
    assert count("RotaryEmbedding", ["x", "positions", "cos", "sin"], {}) == {"cos": 0, "sin": 0}
    assert count("MatMul", ["x", "w"], {"w": 4}) == {}
