from __future__ import annotations

import pytest

from app.records.estimate import Variant
from app.records.result import Gpu
from app.session.machine import find_gpus, hash_uuid

GPUS = tuple(Gpu(index, f"card {index}", hash_uuid(f"GPU-{index}"), 80.0, 700.0) for index in (0, 2))


@pytest.mark.parametrize(
    ("devices", "indices"),
    [((), (0,)), (("2",), (2,)), (("0", "2"), (0, 2)), (("GPU-2",), (2,)), (("MIG-1",), ()), (("7",), ())],
    ids=["the first", "by index", "several", "by UUID", "a slice is none", "not there"],
)
def test_gpus_of_a_variant_are_selected_by_index_or_uuid(devices: tuple[str, ...], indices: tuple[int, ...]) -> None:
    variant = Variant("m", "cuda", "as-is", 1, 1, devices=devices)
    assert tuple(gpu.index for gpu in find_gpus(variant, GPUS)) == indices
