"""CUDA compared with the CPU for each of its settings: times of a ResNet-50, and outputs of the bundled digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.analysis.local.fidelity import compute_fidelity
from app.inference.job import SessionSettings
from app.inference.precision.conversion import convert_precision
from app.inference.probe import DIGITS_MODEL
from tests.gpu.findings import Findings
from tests.gpu.measuring import MeasuredVariant, measure_variant

SETTINGS = {
    "run": SessionSettings(io_binding=False),
    "IO binding": SessionSettings(io_binding=True),
    "IO binding, CUDA graph": SessionSettings(io_binding=True, cuda_graph=True),
}
MIN_COSINE = 0.999


@pytest.fixture(scope="module")
def on_cpu(resnet50: Path, findings: Findings) -> MeasuredVariant:
    measured = measure_variant(resnet50, "cpu")
    findings.add("ResNet-50 on the CPU, 1 thread", format_times(measured))
    return measured


@pytest.fixture(scope="module")
def fp16_model(resnet50: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_precision(resnet50, "fp16", cache=tmp_path_factory.mktemp("made"), timeout_s=300).path


@pytest.mark.parametrize("name", SETTINGS)
def test_fp32_on_cuda_is_faster_than_cpu(
    name: str, resnet50: Path, on_cpu: MeasuredVariant, findings: Findings
) -> None:
    check(f"ResNet-50 on CUDA, {name}", measure_variant(resnet50, "cuda", SETTINGS[name]), on_cpu, findings)


@pytest.mark.parametrize("name", SETTINGS)
def test_fp16_on_cuda_is_faster_than_cpu(
    name: str, fp16_model: Path, on_cpu: MeasuredVariant, findings: Findings
) -> None:
    check(f"ResNet-50 fp16 on CUDA, {name}", measure_variant(fp16_model, "cuda", SETTINGS[name]), on_cpu, findings)


@pytest.mark.parametrize("name", SETTINGS)
def test_digits_outputs_on_cuda_match_cpu(name: str, findings: Findings) -> None:
    measured, on_cpu = (
        measure_variant(DIGITS_MODEL, "cuda", SETTINGS[name], 0.5),
        measure_variant(DIGITS_MODEL, "cpu", seconds=0.5),
    )
    fidelity = compute_fidelity(measured.outputs, on_cpu.outputs)
    findings.add(
        f"digits on CUDA, {name}", f"least cosine {fidelity.cosine_min}, at most {fidelity.max_abs} from the CPU's"
    )
    assert measured.opened.provider_used == "cuda"
    assert fidelity.top1_agreement is not None
    assert fidelity.top1_agreement.value == 1
    assert fidelity.cosine_min is not None
    assert fidelity.cosine_min > MIN_COSINE


def check(name: str, measured: MeasuredVariant, on_cpu: MeasuredVariant, findings: Findings) -> None:
    findings.add(name, format_times(measured))
    assert measured.opened.provider_used == "cuda"
    assert not any(placement.is_fallback for placement in measured.opened.placements)
    assert measured.per_s > on_cpu.per_s


def format_times(measured: MeasuredVariant) -> str:
    parts = {"execute": "execute_ms", "copy in": "copy_in_ms", "copy out": "copy_out_ms"}
    times = [f"{name} {ms:.3f} ms" for name, part in parts.items() if (ms := measured.p50_ms(part)) is not None]
    return f"{measured.per_s:,.0f}/s; p50 {', '.join(times)}"
