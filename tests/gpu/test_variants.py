"""CUDA beside the CPU, and what its settings change: the times of a ResNet-50, the answers of the bundled digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.analysis.local.fidelity import compute_fidelity
from app.inference.job import SessionSettings
from app.inference.precision.conversion import convert_precision
from app.inference.probe import DIGITS_MODEL
from tests.gpu.findings import Findings
from tests.gpu.measuring import Seen, seen_of

SETTINGS = {
    "run": SessionSettings(io_binding=False),
    "IO binding": SessionSettings(io_binding=True),
    "IO binding, CUDA graph": SessionSettings(io_binding=True, cuda_graph=True),
}
LEAST_COSINE = 0.999


@pytest.fixture(scope="module")
def on_cpu(resnet50: Path, findings: Findings) -> Seen:
    seen = seen_of(resnet50, "cpu")
    findings.add("ResNet-50 on the CPU, 1 thread", reported(seen))
    return seen


@pytest.fixture(scope="module")
def in_fp16(resnet50: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_precision(resnet50, "fp16", cache=tmp_path_factory.mktemp("made"), timeout_s=300).path


@pytest.mark.parametrize("name", SETTINGS)
def test_fp32_is_faster_than_the_cpu(name: str, resnet50: Path, on_cpu: Seen, findings: Findings) -> None:
    check(f"ResNet-50 on CUDA, {name}", seen_of(resnet50, "cuda", SETTINGS[name]), on_cpu, findings)


@pytest.mark.parametrize("name", SETTINGS)
def test_fp16_is_faster_than_the_cpu(name: str, in_fp16: Path, on_cpu: Seen, findings: Findings) -> None:
    check(f"ResNet-50 fp16 on CUDA, {name}", seen_of(in_fp16, "cuda", SETTINGS[name]), on_cpu, findings)


@pytest.mark.parametrize("name", SETTINGS)
def test_digits_answers_as_on_the_cpu(name: str, findings: Findings) -> None:
    seen, on_cpu = seen_of(DIGITS_MODEL, "cuda", SETTINGS[name], 0.5), seen_of(DIGITS_MODEL, "cpu", seconds=0.5)
    fidelity = compute_fidelity(seen.outputs, on_cpu.outputs)
    findings.add(
        f"digits on CUDA, {name}", f"least cosine {fidelity.cosine_min}, at most {fidelity.max_abs} from the CPU's"
    )
    assert seen.opened.provider_used == "cuda"
    assert fidelity.top1_agreement is not None
    assert fidelity.top1_agreement.value == 1
    assert fidelity.cosine_min is not None
    assert fidelity.cosine_min > LEAST_COSINE


def check(what: str, seen: Seen, on_cpu: Seen, findings: Findings) -> None:
    findings.add(what, reported(seen))
    assert seen.opened.provider_used == "cuda"
    assert not any(one.is_fallback for one in seen.opened.placements)
    assert seen.per_s > on_cpu.per_s


def reported(seen: Seen) -> str:
    parts = {"execute": "execute_ms", "copy in": "copy_in_ms", "copy out": "copy_out_ms"}
    times = [f"{name} {ms:.3f} ms" for name, part in parts.items() if (ms := seen.p50_ms(part)) is not None]
    return f"{seen.per_s:,.0f}/s; p50 {', '.join(times)}"
