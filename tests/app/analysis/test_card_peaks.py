from __future__ import annotations

import msgspec
import pytest

from app.analysis.card_peaks import card_peaks
from app.profiles.catalogue import find_accelerator, load_catalogue
from app.records.local import Peaks
from tests.fakes.offers import accelerator

CARD = accelerator("l4", "L4")


def test_the_peaks_are_those_of_the_data_sheet() -> None:
    assert card_peaks(CARD, "fp16") == Peaks(
        name="NVIDIA L4", flops_per_s=120e12, bytes_per_s=300e9, basis="assumed", source="nv-ds"
    )
    assert [card_peaks(CARD, one).flops_per_s for one in ("fp32", "int8")] == [30e12, 240e12]


def test_a_figure_that_nobody_published_is_none() -> None:
    peaks = card_peaks(msgspec.structs.replace(CARD, int8_tops=None, memory_bandwidth_gb_s=None), "int8")
    assert (peaks.flops_per_s, peaks.bytes_per_s) == (None, None)


def test_the_catalogue_s_units_are_tera_and_giga() -> None:
    peaks = card_peaks(find_accelerator(load_catalogue(), "l4"), "fp32")
    assert (peaks.flops_per_s, peaks.bytes_per_s) == pytest.approx((30.3e12, 300e9))
