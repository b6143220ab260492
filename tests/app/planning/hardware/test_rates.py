from __future__ import annotations

import pytest

from app.planning.hardware.rates import Unavailable, get_peak_ops_per_s, get_weights_peak_ops_per_s, lacks_precision
from app.profiles.pricing.catalog import load_catalog
from app.records.dtypes import COMPUTE_DTYPES

GPUS = load_catalog().accelerators


def test_peak_rates_are_dense_operations_per_second() -> None:
    assert get_peak_ops_per_s(GPUS["h100-sxm5-80gb"], "fp8") == 1979e12
    assert get_peak_ops_per_s(GPUS["l40s"], "bf16") == 362e12
    assert get_peak_ops_per_s(GPUS["b200-sxm-180gb"], "fp4") == 9000e12


@pytest.mark.parametrize(
    ("key", "dtype", "reason_id"),
    [
        ("a100-sxm4-80gb", "fp8", "unsupported_precision"),
        ("t4", "bf16", "unsupported_precision"),
        ("v100-pcie-16gb", "int8", "unknown_figure"),
        ("l4", "fp6", "unknown_precision"),
    ],
)
def test_unsupported_precision_and_unknown_peak_have_different_reasons(key: str, dtype: str, reason_id: str) -> None:
    refusal = get_peak_ops_per_s(GPUS[key], dtype)
    assert isinstance(refusal, Unavailable)
    assert refusal.id == reason_id


def test_gpu_with_a_peak_rate_supports_the_precision() -> None:
    for gpu in GPUS.values():
        for dtype in COMPUTE_DTYPES:
            assert (
                isinstance(get_peak_ops_per_s(gpu, dtype), float)
                or lacks_precision(gpu, dtype)
                or gpu.architecture != "Hopper"
            )
            assert not (isinstance(get_peak_ops_per_s(gpu, dtype), float) and lacks_precision(gpu, dtype))


def test_weights_in_unsupported_4_bit_precision_are_multiplied_in_16_bits() -> None:
    for key in ("h200-sxm-141gb", "a100-sxm4-80gb"):
        assert get_weights_peak_ops_per_s(GPUS[key], "fp4") == get_peak_ops_per_s(GPUS[key], "bf16")
    assert get_weights_peak_ops_per_s(GPUS["t4"], "fp4") == get_peak_ops_per_s(GPUS["t4"], "fp16")
    assert get_weights_peak_ops_per_s(GPUS["b200-sxm-180gb"], "fp4") == 9000e12
