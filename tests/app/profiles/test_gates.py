from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.errors import ProfileError
from tests.app.profiles.conftest import Load

HTTP = {"protocol": "http", "url": "http://127.0.0.1:8000"}
CHAT = {"protocol": "openai-chat", "url": "http://127.0.0.1:8000/v1", "model": "m"}
SPEECH = {**CHAT, "protocol": "openai-speech"}
TRANSCRIPTIONS = {**CHAT, "protocol": "openai-transcriptions"}
REALTIME = {**CHAT, "protocol": "openai-realtime"}
IMAGES = {**CHAT, "protocol": "openai-images"}
PROMPTS = {"prompts": {"input_tokens": 5}}
STAGES = {
    "stages": [{"name": "calm", "rate": "1/s", "duration": "9s"}, {"name": "peak", "rate": "9/s", "duration": "9s"}]
}
USERS = {"stages": [{"concurrency": 1, "duration": "1s"}]}
SWEEP = {"sweep": {"rates": ["1/s", "40/s"]}}
SEARCH = {"search": {"start": "10/s"}}
SLO = ["latency_ms.p95 < 50"]
TRAFFIC = {"peak": "900/s"}


@pytest.mark.parametrize(
    ("gate", "more"),
    [
        ("latency_ms.p95{stage=peak} < 300", {}),
        ("latency_ms.p95{stage=sweep 40 req/s, sweep=yes} < 300", {"load": SWEEP}),
        ("good_per_s >= 95% of offered_per_s", {"slo": SLO}),
        ("change(latency_ms.p95{stage=peak}) < +8%", {}),
        ("change(max_rate_within_slo) > -5%", {"slo": SLO, "load": SEARCH}),
        ("max_rate_within_slo > 100", {"slo": SLO}),
        ("usd_per_1k_inferences <= 0.60", {"slo": SLO, "load": SEARCH, "traffic": TRAFFIC}),
        ("error_rate <= 0%", {}),
        ("scrape_clock_offset_s.max >= 0", {}),
    ],
)
def test_gate_on_a_planned_stage_or_metric_is_accepted(load: Load, gate: str, more: dict[str, Any]) -> None:
    values = {"load": STAGES, **more}
    assert load(HTTP, {}, gates=[gate], **values).gates[0].text == gate


@pytest.mark.parametrize(
    ("gate", "more", "message", "hint"),
    [
        ("latency_ms.p95{stage=paek} < 300", {}, "no stage has stage=paek", "Did you mean 'peak'?"),
        ("latency_ms.p95{stgae=peak} < 300", {}, 'no stage has a tag "stgae"', "Did you mean 'stage'?"),
        ("latency_ms.p95{stage=zzz} < 300", {}, "no stage has stage=zzz", "Use one of these values: calm, peak."),
        ("latency_ms.p95{sweep=yes} < 300", {}, 'no stage has a tag "sweep"', "Use one of these tags: stage."),
        ("latency_ms.p95{stage=hold} < 300", {"load": SEARCH, "slo": SLO}, "stage=hold", "the search names its own"),
        ("change(latency_ms.p95{stage=paek}) < 8%", {}, "no stage has stage=paek", "Did you mean 'peak'?"),
        ("change(ttft_ms.p95) < 8%", {}, "streamed responses", "Use latency_ms."),
        ("latency_ms.p95 < 90% of ttft_ms.p95", {}, "streamed responses", "Use latency_ms."),
        ("completed_per_s < 90% of good_per_s", {}, "and there is none", "Add one to slo"),
        ("max_rate_within_slo > 9", {}, "the profile has none", "Add load.search"),
        ("max_rate_within_slo > 9", {"load": USERS, "slo": SLO}, "the profile has none", "Add load.search"),
        ("change(max_rate_within_slo) > -5%", {}, "the profile has none", "Add load.search"),
        ("usd_per_month < 900", {"slo": SLO}, "without traffic, no fleet is planned", "Add traffic."),
        (
            "usd_per_1m_tokens < 9",
            {"slo": SLO, "traffic": TRAFFIC},
            "is available only with protocol openai-chat",
            "usd_per_1k_inferences",
        ),
        ("latency_ms.p95 >= 0", {}, "can never fail", "exceeds"),
        ("error_rate <= 100%", {}, "can never fail", "exceeds"),
        ("change(latency_ms.p95) >= -100%", {}, "can never fail", "exceeds"),
        ("completed_per_s >= 0% of offered_per_s", {}, "can never fail", "exceeds"),
        ("usd_per_month < 0", {"slo": SLO, "traffic": TRAFFIC}, "can never be met", "above 0"),
        ("change(latency_ms.p95) < -100%", {}, "can never be met", "above -100%"),
        ("latncy_ms.p95 < 8", {}, 'the metric "latncy_ms" is unknown', "latency_ms"),
        ("error_rate < 0.1", {}, "has no unit", "0.1%"),
    ],
)
def test_gate_on_a_missing_stage_or_metric_is_rejected_with_its_line(
    load: Load, gate: str, more: dict[str, Any], message: str, hint: str
) -> None:
    values = {"load": STAGES, **more}
    with pytest.raises(ProfileError) as caught:
        load(HTTP, {}, gates=["latency_ms.p95 < 300", gate], **values)
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)
    assert caught.value.line is not None
    assert str(caught.value).partition(": ")[0].endswith(f"profile.yaml:{caught.value.line}")


def test_token_cost_gate_is_accepted_for_generating_protocols(load: Load) -> None:
    gates = ["usd_per_1m_tokens < 9"]
    prompts = {"prompts": {"input_tokens": 5, "output_tokens": 5}}
    for target in (CHAT, {**CHAT, "protocol": "anthropic-messages"}):
        assert load(target, prompts, STAGES, slo=SLO, traffic=TRAFFIC, gates=gates).gates


@pytest.mark.parametrize("gate", ["change(latency_ms.p95) < 8%", "latency_ms.p95{stage=peak} < 8"])
def test_gate_only_syntax_is_rejected_in_the_slo(load: Load, gate: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load(HTTP, {}, STAGES, slo=[gate])
    assert caught.value.hint == "Define it as a gate."
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("service_ms.p95{provider=cuda} < 9", "no stage has provider=cuda"),
        ("service_ms.p95{scenario=server} < 9", "no stage has scenario=server"),
        ("service_ms.p95{batch=3} < 9", "no stage has batch=3"),
        ("max_rate_within_slo > 9", "is a metric of endpoints"),
    ],
)
def test_gate_on_a_local_model_may_select_a_variant(load: Load, gate: str, message: str) -> None:
    target, scenarios = {"model": "digits", "batch": [1, 8]}, {"scenarios": ["single-stream", "offline"]}
    profile = load(target, None, scenarios, gates=["service_ms.p95{provider=cpu, batch=8, scenario=offline} < 9"])
    assert profile.gates[0].tags["batch"] == "8"
    with pytest.raises(ProfileError, match=message) as caught:
        load(target, None, scenarios, gates=[gate])
    assert caught.value.hint is not None


def test_gates_of_the_reference_page_load(load: Load) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "slos-and-gates.md").read_text(encoding="utf-8")
    documented = yaml.safe_load(page.partition("## Gates")[2].partition("```yaml")[2].partition("```")[0])
    stages = {"stages": [{"name": "peak", "rate": "9/s", "duration": "20s"}]}
    workload = {**PROMPTS, "classes": [{"name": "chat", "weight": 2}, {"name": "batch", "weight": 1}]}
    profile = load(CHAT, workload, stages, slo=SLO, traffic=TRAFFIC, **documented)
    assert len(profile.gates) == len(documented["gates"]) > 9


GRPC = {"protocol": "oip-grpc", "url": "grpc://127.0.0.1:8001", "model": "m"}
GRPC_SPEECH = {"protocol": "grpc", "url": "grpc://127.0.0.1:50051"}
LOCUST = {"protocol": "locust", "file": "locustfile.py"}


@pytest.mark.parametrize(
    ("target", "workload", "objective", "message"),
    [
        (HTTP, {}, "ttft_ms.p95 < 100", "streamed responses"),
        (HTTP, {}, "output_tokens_per_s > 100", "openai-chat"),
        (HTTP, {}, "accuracy > 90%", "needs labels"),
        (CHAT, {**PROMPTS, "stream": False}, "itl_ms.p50 < 10", "streamed responses"),
        (GRPC, {"stream": True}, "ttft_ms.p95 < 100", "openai-chat"),
        (GRPC, {}, "first_byte_ms.p95 < 100", "gRPC does not report the first byte"),
        (GRPC_SPEECH, {"method": "a/b"}, "first_byte_ms.p95 < 100", "gRPC does not report the first byte"),
        (GRPC_SPEECH, {"method": "a/b"}, "ttft_ms.p95 < 100", "streamed responses"),
        (HTTP, {}, "first_message_ms.p95 < 100", "only with protocol grpc"),
        (LOCUST, {}, "latency_ms.p95 < 100", "Locust does not report"),
        (CHAT, PROMPTS, "ttfa_ms.p95 < 100", "only with protocol openai-speech"),
        (IMAGES, PROMPTS, "real_time_factor.p95 < 1", "openai-speech, openai-transcriptions"),
        (SPEECH, PROMPTS, "images_per_s > 1", "only with protocol openai-images"),
        (SPEECH, {**PROMPTS, "format": "mp3"}, "audio_s_per_s > 1", "which is unknown for mp3"),
        (SPEECH, PROMPTS, "output_tokens_per_s > 1", "openai-chat"),
        (TRANSCRIPTIONS, {"audio": {"seconds": 5}}, "ttfa_ms.p95 < 100", "only with protocol openai-speech"),
        (SPEECH, PROMPTS, "response_ms.p95 < 100", "only with protocol openai-realtime"),
        (REALTIME, {"audio": {"seconds": 5}}, "ttft_ms.p95 < 100", "streamed responses"),
    ],
)
def test_objective_on_a_metric_that_is_never_measured_is_rejected(
    load: Load, tmp_path: Path, target: dict[str, Any], workload: dict[str, Any], objective: str, message: str
) -> None:
    (tmp_path / "locustfile.py").write_text("")
    stages = USERS if target is LOCUST else {"stages": [{"rate": "1/s", "duration": "1s"}]}
    for key in ("slo", "gates"):
        with pytest.raises(ProfileError, match=message) as caught:
            load(target, workload, stages, **{key: [objective]})
        assert caught.value.line is not None
        assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("target", "workload", "objective"),
    [
        (CHAT, PROMPTS, "ttft_ms.p95 < 100"),
        (CHAT, {**PROMPTS, "stream": False}, "output_tokens_per_s > 100"),
        (SPEECH, {**PROMPTS, "format": "mp3"}, "ttfa_ms.p95 < 100"),
        (SPEECH, {**PROMPTS, "format": "wav"}, "real_time_factor.p95 < 1"),
        (TRANSCRIPTIONS, {"audio": {"seconds": 5}}, "audio_s_per_s > 10"),
        (IMAGES, PROMPTS, "images_per_s > 0.1"),
        (REALTIME, {"audio": {"seconds": 5}}, "response_ms.p95 < 900"),
        (REALTIME, {"audio": {"seconds": 5}}, "real_time_factor.p95 < 0.9"),
        (GRPC_SPEECH, {"method": "a/b"}, "first_message_ms.p95 < 100"),
        (GRPC_SPEECH, {"method": "a/b"}, "message_gap_ms.p95 < 100"),
    ],
)
def test_objective_on_a_measurable_metric_is_accepted(
    load: Load, target: dict[str, Any], workload: dict[str, Any], objective: str
) -> None:
    assert load(target, workload, slo=[objective]).slo


@pytest.mark.parametrize(
    ("slo", "message"),
    [
        (["goodput_share >= 99%"], "and there is none"),
        (["good_per_s > 10", "error_rate < 1%"], "and there is none"),
        (["latency_ms.p95 < 50", "completed_per_s > 100"], "low at every low rate"),
        (["host_cpu_percent.max < 90"], "not measured per request"),
        (["latency_ms.p95 > 80"], "would be met by the worst"),
        (["error_rate >= 1%"], "would be met by the worst"),
        (["latency_ms.p95 < 80", "goodput_share < 99%"], "would be met by the worst"),
        (["latency_ms.p95 < 50 | warn"], "slo has only warnings"),
        ([], "slo is empty"),
    ],
)
def test_slo_without_a_deciding_objective_is_rejected_for_a_rate_search(
    load: Load, slo: list[str], message: str
) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        load(HTTP, {}, SEARCH, slo=slo)
    assert caught.value.hint is not None


@pytest.mark.parametrize("objective", ["latency_ms.p95 < 0", "latency_ms.p95 <= -5", "p95 <= 0ms", "error_rate < 0%"])
def test_limit_that_can_never_be_met_is_rejected(load: Load, objective: str) -> None:
    for key in ("slo", "gates"):
        with pytest.raises(ProfileError, match="can never be met"):
            load(HTTP, {}, {"stages": [{"rate": "1/s", "duration": "1s"}]}, **{key: [objective]})


def test_goodput_accepts_warning_limits_as_its_latency_limits(load: Load) -> None:
    slo = ["goodput_share >= 99%", "latency_ms.p95 < 50 | warn"]
    assert load(HTTP, {}, SEARCH, slo=slo).slo
    stages = {"stages": [{"rate": "9/s", "duration": "1s"}]}
    assert load(HTTP, {}, stages, slo=["completed_per_s > 8"]).slo, "a load without a rate search"
    assert load(HTTP, {}, SEARCH, slo=["latency_ms.p95 < 50"], gates=["host_cpu_percent.max < 90"]).gates


@pytest.mark.parametrize(
    ("objective", "settings", "message"),
    [
        ("latency_ms.p95 < 50", {}, "the server or multi-stream scenario"),
        ("copy_in_ms.p95 < 50", {"runtime": {"io_binding": False}}, "not measured separately without io_binding"),
        ("ttft_ms.p95 < 50", {}, "is a metric of endpoints"),
        ("error_rate < 1%", {}, "is a metric of endpoints"),
        ("accuracy >= 90%", {}, "needs labeled rows"),
        ("service_ms.p95 < 0", {}, "can never be met"),
    ],
)
def test_objective_that_a_local_run_cannot_decide_is_rejected(
    load: Load, objective: str, settings: dict[str, Any], message: str
) -> None:
    for key in ("slo", "gates"):
        with pytest.raises(ProfileError, match=message) as caught:
            load({"model": "digits", **settings}, None, {}, **{key: [objective]})
        assert caught.value.line is not None
        assert caught.value.hint is not None


def test_objective_that_a_local_run_can_decide_is_accepted(load: Load) -> None:
    slo = ["latency_ms.p95 < 50", "throughput_per_s > 10", "service_ms.p99 < 20", "gpu_power_w.max < 300 | warn"]
    profile = load({"model": "digits"}, None, {"scenarios": ["offline", "server"]}, slo=slo)
    assert len(profile.slo) == 4
