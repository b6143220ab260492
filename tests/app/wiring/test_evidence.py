from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.errors import InvalidRunError, UsageError
from app.profiles.bundled import DATA_DIRECTORY
from app.storage.run_directory import RunWriter
from app.wiring.evidence import EvidenceRequest, build_evidence
from tests.fakes.results import run_without_load

EXAMPLES = DATA_DIRECTORY / "examples"
TODAY = datetime.date(2026, 12, 3)
REQUEST = EvidenceRequest(
    source=str(EXAMPLES / "vllm-before.json"), engine="vllm", precision="bf16", model="llama-3.1-8b", accelerator="l4"
)


def test_result_of_another_tool_becomes_points_of_the_declared_server() -> None:
    evidence = build_evidence(replace(REQUEST, tensor_parallel=2, version="0.11.0"), TODAY)
    served = evidence.served
    assert (served.model, served.accelerator, served.accelerators) == ("llama-3.1-8b", "l4", 2)
    assert (served.tensor_parallel, served.version, evidence.added_on) == (2, "0.11.0", TODAY)
    (point,) = evidence.points
    assert (point.ttft_ms, point.tpot_ms) == pytest.approx((54.5, 13.5))
    assert point.clients is None
    assert point.rate_per_s == pytest.approx(300 / 36)
    assert (point.input_tokens, point.output_tokens, point.requests) == (1000, 270, 300)


def test_points_of_a_closed_loop_have_clients_instead_of_a_rate() -> None:
    evidence = build_evidence(replace(REQUEST, source=str(EXAMPLES / "guidellm.json"), accelerator="a10g"), TODAY)
    assert all(point.tpot_ms and point.output_tokens for point in evidence.points)
    assert all((point.clients is None) != (point.rate_per_s is None) for point in evidence.points)


def test_missing_token_lengths_can_be_declared(tmp_path: Path) -> None:
    curve = tmp_path / "curve.csv"
    curve.write_text("offered_per_s,ttft_ms.mean,tpot_ms.mean\n2,100,20\n4,120,25\n")
    request = replace(REQUEST, source=str(curve))
    with pytest.raises(UsageError):
        build_evidence(request, TODAY)
    evidence = build_evidence(replace(request, input_tokens=500, output_tokens=100), TODAY)
    assert [point.tpot_ms for point in evidence.points] == pytest.approx([20, 25])


def test_load_without_mean_latencies_is_omitted_with_a_note(tmp_path: Path) -> None:
    content = json.loads((EXAMPLES / "vllm-before.json").read_text())
    other = {key: value for key, value in content.items() if not key.startswith("mean_")}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content) + json.dumps(other))
    evidence = build_evidence(replace(REQUEST, source=str(path)), TODAY)
    assert len(evidence.points) == 1
    assert len(evidence.notes) > len(build_evidence(REQUEST, TODAY).notes)


def test_model_can_be_declared_by_a_shape_file() -> None:
    evidence = build_evidence(replace(REQUEST, model=str(EXAMPLES / "llm-8b.yaml")), TODAY)
    assert (evidence.model_name, evidence.served.model, evidence.shape.layers) == ("llm-8b", "llm-8b", 32)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None},
        {"model": "no-such-model"},
        {"model": "missing.yaml"},
        {"accelerator": None},
        {"accelerator": "h100"},
        {"accelerator": "none"},
        {"accelerator": "no-such-card"},
        {"tensor_parallel": 4, "expert_parallel": 3},
        {"source": str(EXAMPLES / "chat.yaml")},
        {"source": "no-such-run"},
    ],
)
def test_missing_or_unknown_values_are_usage_errors(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        build_evidence(replace(REQUEST, **changes), TODAY)


def test_invalid_run_is_rejected_as_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    run = run_without_load()
    result = replace(run.result, verdict=replace(run.result.verdict, status="INVALID"))
    with RunWriter(tmp_path / "runs" / "1-run") as writer:
        writer.write_result(result)
    with pytest.raises(InvalidRunError):
        build_evidence(replace(REQUEST, source=str(tmp_path / "runs" / "1-run")), TODAY)
