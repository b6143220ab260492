from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ProfileError
from tests.app.profiles.conftest import Load

HTTP = {"protocol": "http", "url": "http://127.0.0.1:8000"}
CHAT = {"protocol": "openai-chat", "url": "http://127.0.0.1:8000/v1", "model": "m"}
GRPC = {"protocol": "oip-grpc", "url": "grpc://127.0.0.1:8001", "model": "m"}
LOCUST = {"protocol": "locust", "file": "locustfile.py"}
PROMPTS = {"prompts": {"input_tokens": 5}}
USERS = {"stages": [{"concurrency": 1, "duration": "1s"}]}


@pytest.mark.parametrize(
    ("target", "workload", "objective", "says"),
    [
        (HTTP, {}, "ttft_ms.p95 < 100", "streamed answers"),
        (HTTP, {}, "output_tokens_per_s > 100", "openai-chat"),
        (HTTP, {}, "accuracy > 90%", "right answers"),
        (CHAT, {**PROMPTS, "stream": False}, "itl_ms.p50 < 10", "streamed answers"),
        (GRPC, {"stream": True}, "ttft_ms.p95 < 100", "openai-chat"),
        (GRPC, {}, "first_byte_ms.p95 < 100", "gRPC tells no first byte"),
        (LOCUST, {}, "latency_ms.p95 < 100", "Locust does not tell"),
    ],
)
def test_an_objective_on_what_is_never_measured_is_refused(
    load: Load, tmp_path: Path, target: dict[str, Any], workload: dict[str, Any], objective: str, says: str
) -> None:
    (tmp_path / "locustfile.py").write_text("")
    stages = USERS if target is LOCUST else {"stages": [{"rate": "1/s", "duration": "1s"}]}
    for key in ("slo", "gates"):
        with pytest.raises(ProfileError, match=says) as caught:
            load(target, workload, stages, **{key: [objective]})
        assert caught.value.line is not None
        assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("workload", "objective"),
    [(PROMPTS, "ttft_ms.p95 < 100"), ({**PROMPTS, "stream": False}, "output_tokens_per_s > 100")],
)
def test_what_can_be_measured_may_be_asked_for(load: Load, workload: dict[str, Any], objective: str) -> None:
    assert load(CHAT, workload, slo=[objective]).slo


SEARCH = {"search": {"start": "10/s"}}


@pytest.mark.parametrize(
    ("slo", "says"),
    [
        (["goodput_share >= 99%"], "slo sets none on the times of a request"),
        (["good_per_s > 10", "error_rate < 1%"], "slo sets none on the times of a request"),
        (["latency_ms.p95 < 50", "completed_per_s > 100"], "low at every low rate"),
        (["host_cpu_percent.max < 90"], "not of requests"),
        (["latency_ms.p95 > 80"], "would hold at the worst"),
        (["error_rate >= 1%"], "would hold at the worst"),
        (["latency_ms.p95 < 80", "goodput_share < 99%"], "would hold at the worst"),
        (["latency_ms.p95 < 50 | warn"], "slo only warns"),
        ([], "slo is empty"),
    ],
)
def test_an_slo_that_cannot_decide_about_a_rate_is_refused(load: Load, slo: list[str], says: str) -> None:
    with pytest.raises(ProfileError, match=says) as caught:
        load(HTTP, {}, SEARCH, slo=slo)
    assert caught.value.hint is not None


@pytest.mark.parametrize("objective", ["latency_ms.p95 < 0", "latency_ms.p95 <= -5", "error_rate < 0%"])
def test_a_limit_that_nothing_can_meet_is_refused(load: Load, objective: str) -> None:
    for key in ("slo", "gates"):
        with pytest.raises(ProfileError, match="can never be met"):
            load(HTTP, {}, {"stages": [{"rate": "1/s", "duration": "1s"}]}, **{key: [objective]})


def test_limits_that_only_warn_count_for_the_goodput(load: Load) -> None:
    slo = ["goodput_share >= 99%", "latency_ms.p95 < 50 | warn"]
    assert load(HTTP, {}, SEARCH, slo=slo).slo
    stages = {"stages": [{"rate": "9/s", "duration": "1s"}]}
    assert load(HTTP, {}, stages, slo=["completed_per_s > 8"]).slo, "where no rate is looked for"
    assert load(HTTP, {}, SEARCH, slo=["latency_ms.p95 < 50"], gates=["host_cpu_percent.max < 90"]).gates


@pytest.mark.parametrize(
    ("objective", "settings", "why"),
    [
        ("latency_ms.p95 < 50", {}, "in server or multi-stream"),
        ("copy_in_ms.p95 < 50", {"runtime": {"io_binding": False}}, "not timed apart without io_binding"),
        ("ttft_ms.p95 < 50", {}, "is of endpoints"),
        ("error_rate < 1%", {}, "is of endpoints"),
        ("accuracy >= 90%", {}, "needs labelled rows"),
        ("service_ms.p95 < 0", {}, "can never be met"),
    ],
)
def test_objective_that_no_local_run_can_decide_is_refused(
    load: Load, objective: str, settings: dict[str, Any], why: str
) -> None:
    for key in ("slo", "gates"):
        with pytest.raises(ProfileError, match=why) as caught:
            load({"model": "digits", **settings}, None, {}, **{key: [objective]})
        assert caught.value.line is not None
        assert caught.value.hint is not None


def test_objective_that_a_local_run_can_decide_is_taken(load: Load) -> None:
    slo = ["latency_ms.p95 < 50", "throughput_per_s > 10", "service_ms.p99 < 20", "gpu_power_w.max < 300 | warn"]
    profile = load({"model": "digits"}, None, {"scenarios": ["offline", "server"]}, slo=slo)
    assert len(profile.slo) == 4
