from __future__ import annotations

import pytest

from app.planning.rates import DTYPES, Unavailable, get_peak_ops_per_s, lacks_precision
from app.profiles.pricing.catalog import load_catalog

CARDS = load_catalog().accelerators


def test_peaks_are_dense_and_per_second() -> None:
    assert get_peak_ops_per_s(CARDS["h100-sxm5-80gb"], "fp8") == 1979e12
    assert get_peak_ops_per_s(CARDS["l40s"], "bf16") == 362e12
    assert get_peak_ops_per_s(CARDS["b200-sxm-180gb"], "fp4") == 9000e12


@pytest.mark.parametrize(
    ("key", "dtype", "says"),
    [
        ("a100-sxm4-80gb", "fp8", "NVIDIA A100 SXM4 80 GB does not support fp8"),
        ("t4", "bf16", "NVIDIA T4 does not support bf16"),
        ("v100-pcie-16gb", "int8", "the dense int8 peak of NVIDIA Tesla V100 PCIe 16 GB is unknown"),
        ("l4", "fp6", "'fp6'"),
    ],
)
def test_a_peak_that_is_not_there_is_reported_apart_from_one_that_is_not_known(key: str, dtype: str, says: str) -> None:
    refusal = get_peak_ops_per_s(CARDS[key], dtype)
    assert isinstance(refusal, Unavailable)
    assert says in refusal.reason


def test_no_card_is_said_to_lack_what_its_row_has() -> None:
    for card in CARDS.values():
        for dtype in DTYPES:
            assert (
                isinstance(get_peak_ops_per_s(card, dtype), float)
                or lacks_precision(card, dtype)
                or card.architecture != "Hopper"
            )
            assert not (isinstance(get_peak_ops_per_s(card, dtype), float) and lacks_precision(card, dtype))
