"""Warnings about unrealistic LLM measurements, with a server that causes all of them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.analysis.prefix_cache import compute_offered_hits
from app.profiles.traces import read_trace
from loadgen.payloads.texts import TextGenerator
from loadgen.reference.llm_scheduler import EventKind, LlmConfig
from tests.fakes.llm_server import llm_server
from tests.fakes.program import SizewiseInProcess

pytestmark = pytest.mark.process

PROFILE = """sizewise: 1
name: chat
target:
  protocol: openai-chat
  url: {url}
  model: m
  headers: {{Authorization: "env:MODEL_KEY"}}
workload: {{stream: false, prompts: {{input_tokens: 20, output_tokens: 100, unique: 1}}}}
load:
  warmup: 0s
  stages: [{{name: steady, arrivals: constant, rate: 60/s, duration: 2s}}]
"""
TRACE_PROFILE = """sizewise: 1
name: trace
target: {{protocol: openai-completions, url: "{url}", model: m}}
workload: {{stream: false, trace: {trace}}}
load:
  seed: 5
  warmup: 0s
  stages: [{{name: replay, trace: {trace}}}]
"""
MODEL = LlmConfig(
    served_model_name="m", block_size=1, step_ms=0.05, prefill_token_ms=0, decode_seq_ms=0,
    min_output_tokens=41, max_output_tokens=41,
)  # fmt: skip


def test_repeated_prompt_and_short_outputs_cause_warnings(
    sizewise_in_process: SizewiseInProcess, tmp_path: Path
) -> None:
    profile, out = tmp_path / "profile.yaml", tmp_path / "run"
    with llm_server(MODEL) as model:
        profile.write_text(PROFILE.format(url=model.url))
        done = sizewise_in_process("run", str(profile), "--out", str(out), MODEL_KEY="canary-of-the-key")
        metrics_headers = [headers for path, headers in model.heads if path == "/metrics"]
        # the first request is that of the check before the run
        prompts, admissions = (
            [event for event in model.events if event.kind == kind][1:]
            for kind in (EventKind.ARRIVED, EventKind.ADMITTED)
        )
    assert done.returncode in (0, 4), done.stderr  # 4: the machine was busy
    checks = {check["id"]: check for check in sizewise_in_process.result(out)["validity"]}
    assert checks["prefix_cache"]["verdict"] == "WARN"
    cached_tokens = sum(event.cached_tokens or 0 for event in admissions)
    prompt_tokens = sum(event.prompt_tokens or 0 for event in prompts)
    count = len(prompts)
    assert prompt_tokens == 22 * count
    assert cached_tokens == 21 * (count - 1) + 1, "all but the last token, and of the first prompt the chat template"
    assert checks["prefix_cache"]["value"] == cached_tokens / prompt_tokens
    assert checks["output_lengths"]["verdict"] == "WARN"
    assert checks["output_lengths"]["value"] == pytest.approx(0.41)
    assert (checks["prompts"]["value"], checks["prompts"]["verdict"]) == (1, "WARN")
    assert "WARN prefix cache" in done.stdout
    assert len(metrics_headers) == 2, "before and after the load"
    assert "canary" not in str(metrics_headers)


def test_replayed_trace_has_offered_prefix_hits_and_is_exported(
    sizewise_in_process: SizewiseInProcess, tmp_path: Path
) -> None:
    """The prompts are generated from the IDs of the trace: the server counts exactly the hits that the trace offers."""
    rng = np.random.default_rng(1)
    rows: list[tuple[int, int, list[int]]] = []
    for number in range(40):
        ids = (
            [*rows[int(rng.integers(len(rows)))][2][:2], *(100 * number + block for block in range(3))] if rows else [0]
        )
        rows.append((50 * number, 512 * len(ids) - int(rng.integers(512)), ids))
    trace, out, profile = tmp_path / "trace.jsonl", tmp_path / "run", tmp_path / "profile.yaml"
    trace.write_text(
        "".join(
            f'{{"timestamp": {at}, "input_length": {tokens}, "output_length": 41, "hash_ids": {ids}}}\n'
            for at, tokens, ids in rows
        )
    )
    config = msgspec.structs.replace(MODEL, block_size=16)
    with llm_server(config) as model:
        profile.write_text(TRACE_PROFILE.format(url=model.url, trace=trace))
        done = sizewise_in_process("run", str(profile), "--out", str(out))
        bodies = [json.loads(body) for body in model.bodies]
    assert done.returncode in (0, 4), done.stderr
    reuse = sizewise_in_process.result(out)["prefix_reuse"]
    assert 0.1 < reuse["offered_share"] == pytest.approx(reuse["served_share"], abs=1e-12)
    blocks_by_row = [
        [(block_id, min(512, tokens - 512 * index)) for index, block_id in enumerate(ids)] for _, tokens, ids in rows
    ]
    assert reuse["served_share"] == pytest.approx(compute_offered_hits(blocks_by_row).share, abs=1e-12), (
        "the preflight sends none of the prompts"
    )
    assert "Prefix cache hit rate: the prompts offer" in done.stdout
    sent = [body["prompt"] for body in bodies][-len(rows) :]  # after the preflight
    generator = TextGenerator(np.random.default_rng(9), None)
    for prompt, blocks in zip(sent, blocks_by_row, strict=True):
        assert prompt == generator.generate_from_blocks(blocks, 512, seed=5)
    exported = sizewise_in_process("runs", "trace", str(out), "-o", str(tmp_path / "again.csv"))
    assert exported.stdout == f"{tmp_path / 'again.csv'}: 40 requests\n"
    exported_trace = read_trace(tmp_path / "again.csv")
    assert exported_trace.at_s.tolist() == pytest.approx([at / 1000 for at, _, _ in rows], abs=1e-8)
    assert exported_trace.input_tokens is not None
    assert exported_trace.input_tokens.tolist() == [tokens for _, tokens, _ in rows]
