from __future__ import annotations

import pytest

from app.inference.inspection.gguf_file import TENSOR_TYPES

BITS_PER_WEIGHT = {
    "float32": 32, "float16": 16, "bfloat16": 16, "float64": 64, "int8": 8, "int16": 16, "int32": 32, "int64": 64,
    "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6, "Q8_0": 8.5,
    "Q2_K": 2.625, "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625,
    "IQ1_S": 1.5625, "IQ1_M": 1.75, "IQ2_XXS": 2.0625, "IQ2_XS": 2.3125, "IQ2_S": 2.5625, "IQ3_XXS": 3.0625,
    "IQ3_S": 3.4375, "IQ4_NL": 4.5, "IQ4_XS": 4.25, "TQ1_0": 1.6875, "TQ2_0": 2.0625, "MXFP4": 4.25, "NVFP4": 4.5,
    "Q1_0": 1.125,
}  # fmt: skip
"""Bits per weight of a block with its scales, as in llama.cpp."""


def test_gguf_block_sizes_equal_those_of_llama_cpp() -> None:
    assert {name: 8 * size / elements for name, elements, size in TENSOR_TYPES.values()} == pytest.approx(
        BITS_PER_WEIGHT
    )
