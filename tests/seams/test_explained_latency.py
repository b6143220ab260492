"""The breakdown of latency, with a server whose queue, prefill, decode and stalls are configured, behind a network
that adds its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from loadgen.reference.llm_scheduler import LlmConfig, ScriptShare
from tests.fakes.faulty_proxy import FaultyProxy, Toxics
from tests.fakes.llm_server import llm_server
from tests.fakes.program import SizewiseInProcess

pytestmark = pytest.mark.timing

PROFILE = """sizewise: 1
name: explained
target:
  protocol: openai-chat
  urls: ["{url}"]
  model: m
workload: {{prompts: {{input_tokens: 20, output_tokens: 12}}{usage}}}
load:
  warmup: 0s
  stages: [{{name: steady, arrivals: constant, rate: 10/s, duration: 4s}}]
"""
MODEL = LlmConfig(
    served_model_name="m",
    step_ms=2,
    prefill_token_ms=0,
    decode_seq_ms=0,
    min_output_tokens=12,
    max_output_tokens=12,
    scripts=(
        ScriptShare(
            share=1, extra_queue_ms=60, extra_prefill_ms=40, extra_decode_ms=8, stall_after_token=6, stall_ms=90
        ),
    ),
)
DECODE_MS = 11 * (8 + 2)
NETWORK_MS = 6.0
"""Added to each piece of a response, one after another, so it must be shorter than the gap between them."""


def breakdowns(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (stage,) = [stage for stage in result["stages"] if stage["name"] == "steady"]
    return {row["aggregate"]: row for row in stage["breakdown"]}


def test_latency_parts_match_server_and_network_delays(sizewise_in_process: SizewiseInProcess, tmp_path: Path) -> None:
    profile, out = tmp_path / "profile.yaml", tmp_path / "run"
    with llm_server(MODEL) as model, FaultyProxy(model.port, Toxics(latency_s=NETWORK_MS / 1e3)) as proxy:
        profile.write_text(PROFILE.format(url=f"{proxy.url}/v1", usage=""))
        done = sizewise_in_process("run", str(profile), "--out", str(out))
    assert done.returncode in (0, 4), done.stderr
    result = sizewise_in_process.result(out)
    breakdown_by_aggregate = breakdowns(result)
    (round_trip_ms,) = [stage["round_trip_ms"] for stage in result["stages"] if stage["name"] == "steady"]
    if sys.platform == "linux":
        # of the connection to the proxy, which acknowledges a request at once
        assert breakdown_by_aggregate["p99"]["parts_ms"]["network"] == round_trip_ms
        assert 0 < round_trip_ms < 1
    for aggregate in ("mean", "p50"):
        breakdown = breakdown_by_aggregate[aggregate]
        assert breakdown["evidence"] == "requests"
        # the scheduler admits and begins at its next step, which takes 2 ms
        for part, expected_ms, steps in (
            ("queue", 60, 1), ("prefill", 40, 2), ("decode", DECODE_MS, 0), ("stalls", 90, 0), ("send_delay", 0, 0),
        ):  # fmt: skip
            assert breakdown["parts_ms"][part] == pytest.approx(
                expected_ms, abs=max(0.05 * expected_ms, 1) + 2 * steps
            ), part
        # the proxy wakes up late, never early; without it, the rest is below 1 ms (next test)
        assert NETWORK_MS - 0.5 <= breakdown["unknown_ms"] <= NETWORK_MS + 3
        parts_ms = sum(part_ms for part_ms in breakdown["parts_ms"].values())
        assert parts_ms + breakdown["unknown_ms"] == pytest.approx(breakdown["latency_ms"])


def test_server_histogram_means_match_client_latencies(sizewise_in_process: SizewiseInProcess, tmp_path: Path) -> None:
    """Without usage in the responses, only the server's counters have evidence."""
    profile, out = tmp_path / "profile.yaml", tmp_path / "run"
    with llm_server(MODEL) as model:
        usage = ", extra_body: {stream_options: {include_usage: false}}"
        profile.write_text(PROFILE.format(url=model.url, usage=usage))
        done = sizewise_in_process("run", str(profile), "--out", str(out))
    assert done.returncode in (0, 4), done.stderr
    result = sizewise_in_process.result(out)
    (stage,) = [stage for stage in result["stages"] if stage["name"] == "steady"]
    latencies = {latency["kind"]: latency for latency in stage["server_latencies"]}
    assert latencies["ttft"]["server_count"] == latencies["ttft"]["client_count"] == 40
    for kind in ("ttft", "e2e"):
        assert latencies[kind]["client_ms"] == pytest.approx(latencies[kind]["server_ms"], abs=1), kind
    breakdown_by_aggregate = breakdowns(result)
    assert breakdown_by_aggregate["mean"]["evidence"] == "stage"
    assert breakdown_by_aggregate["mean"]["unknown_ms"] == pytest.approx(0, abs=1)
    assert (
        breakdown_by_aggregate["p50"]["parts_ms"]["queue"],
        breakdown_by_aggregate["p50"]["parts_ms"]["prefill"],
    ) == (None, None)
    assert breakdown_by_aggregate["p50"]["unknown_ms"] == pytest.approx(100, abs=8), (
        "unknown parts are not added to other parts"
    )
