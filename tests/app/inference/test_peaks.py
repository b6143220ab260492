from __future__ import annotations

import pytest

from app.errors import MeasurementError, UsageError
from app.inference.peaks import measure_peaks
from app.records.local import Peaks

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def peaks() -> dict[str, Peaks]:
    return measure_peaks(1, 2**26)


def test_cpu_peaks_are_measured_for_fp32_and_int8(peaks: dict[str, Peaks]) -> None:
    assert set(peaks) == {"fp32", "fp16", "int8"}
    assert {peak.basis for peak in peaks.values()} == {"measured"}
    assert all(peak.name == f"this CPU with 1 thread in {arithmetic}" for arithmetic, peak in peaks.items())
    for arithmetic in ("fp32", "int8"):
        assert 1e9 < (peaks[arithmetic].flops_per_s or 0) < 1e14
        assert "ONNX Runtime" in peaks[arithmetic].source
        assert peaks[arithmetic].source.endswith("MatMul of one row with 64 MiB of weights")
    assert 1e8 < (peaks["fp32"].bytes_per_s or 0) < 1e12
    assert peaks["int8"].bytes_per_s == peaks["fp32"].bytes_per_s


def test_cpu_has_no_fp16_peak(peaks: dict[str, Peaks]) -> None:
    assert peaks["fp16"].flops_per_s is None
    assert "fp16 is computed in fp32" in peaks["fp16"].source


def test_peaks_with_more_threads_than_cores_are_rejected() -> None:
    with pytest.raises(UsageError, match=r"5000 threads exceed"):
        measure_peaks(5000, 2**26)


def test_peak_measurement_that_exceeds_its_timeout_is_stopped() -> None:
    with pytest.raises(MeasurementError, match=r"peaks did not finish within 0\.01 s"):
        measure_peaks(1, 2**26, timeout_s=0.01)
