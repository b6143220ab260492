from __future__ import annotations

from typing import get_args

from app.records.dtypes import BYTES_PER_VALUE, COMPUTE_DTYPES, KV_DTYPES, WEIGHT_DTYPES, Dtype, choose_compute_dtype


def test_every_dtype_has_a_size_and_a_use() -> None:
    assert set(get_args(Dtype)) == {*COMPUTE_DTYPES, *WEIGHT_DTYPES} == BYTES_PER_VALUE.keys() > set(KV_DTYPES)


def test_weights_of_every_dtype_can_be_computed() -> None:
    computed = {dtype: choose_compute_dtype(dtype) for dtype in WEIGHT_DTYPES}
    assert set(computed.values()) <= set(COMPUTE_DTYPES)
    assert {dtype for dtype, other in computed.items() if dtype != other} == {"int4"}
