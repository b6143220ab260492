from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.profiles.loading import load_profile_tree
from app.profiles.pricing.catalog import load_bundled_catalog
from app.profiles.profile import GeneratingProfile, HttpProfile, RerankProfile
from app.records.planned_work import PlannedWork
from app.session.rate_search import MAX_PROBE_DRAIN_S
from app.wiring.planned_work import PromptLengths, estimate_work, sample_prompt_lengths, simulate_probes


def lengths(protocol: str = "openai-chat", **workload: Any) -> PromptLengths:
    target = {"protocol": protocol, "url": "http://127.0.0.1:1/v1", "model": "m"}
    load = {"seed": 3, "stages": [{"rate": "1/s", "duration": "1s"}]}
    values = {"sizewise": 1, "name": "mine", "target": target, "workload": workload, "load": load}
    profile = load_profile_tree(values, "mine.yaml")
    assert isinstance(profile, GeneratingProfile | RerankProfile)
    return sample_prompt_lengths(profile)


def test_prompt_lengths_are_reproducible_and_within_their_bounds() -> None:
    drawn = lengths(prompts={"input_tokens": "uniform 100 to 800", "output_tokens": 64, "unique": 500})
    assert drawn == lengths(prompts={"input_tokens": "uniform 100 to 800", "output_tokens": 64, "unique": 500})
    assert len(drawn.input_tokens) == drawn.distinct_prompts == 500
    assert min(drawn.input_tokens) >= 100
    assert max(drawn.input_tokens) <= 800
    assert set(drawn.output_tokens) == {64}


def test_input_of_a_session_includes_its_earlier_turns() -> None:
    drawn = lengths(
        prompts={"input_tokens": 10, "output_tokens": 5, "turns": 3, "prefix": {"tokens": 100}, "unique": 2}
    )
    assert drawn.input_tokens == (110, 125, 140) * 2
    assert drawn.requests_per_session == 3


def test_input_of_a_rerank_request_includes_its_documents() -> None:
    assert lengths("openai-rerank", prompts={"input_tokens": 10, "unique": 1}, documents=4).input_tokens == (50,)


def test_lengths_of_classes_are_mixed_by_their_shares_of_the_requests() -> None:
    prompts = {"input_tokens": 10, "output_tokens": 5}
    classes = [
        {"name": "single", "weight": 3, "prompts": prompts},
        {"name": "session", "weight": 1, "prompts": prompts | {"turns": 3, "input_tokens": 100}},
    ]
    drawn = lengths(classes=classes)
    assert drawn.requests_per_session == 0.75 + 0.25 * 3
    assert drawn.input_tokens.count(10) == len(drawn.input_tokens) / 2, "half of the requests are turns of sessions"
    assert set(drawn.input_tokens) == {10, 100, 205, 310}
    assert set(drawn.output_tokens) == {5}
    assert drawn.distinct_prompts == 2000
    unbounded = lengths(classes=[{"name": "a"}, {"name": "b", "prompts": {"input_tokens": 9}}], prompts=prompts)
    assert (unbounded.output_tokens, unbounded.reason) == ((), None), "the output length of one class is unknown"


def test_lengths_of_a_dataset_are_unknown_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "hello"}\n')
    drawn = lengths(dataset=str(tmp_path / "d.jsonl"))
    assert "tokenizer" in str(drawn.reason)
    assert not drawn.input_tokens
    mixed = lengths(classes=[{"name": "questions", "dataset": str(tmp_path / "d.jsonl")}])
    assert mixed.reason == f"class questions: {drawn.reason}"


def estimate_planned_work(**sections: Any) -> PlannedWork:
    target = {
        "protocol": "http",
        "url": "http://127.0.0.1:1",
        "timeouts": {"total": "10s"},
        **sections.pop("target", {}),
    }
    values = {"sizewise": 1, "name": "mine", "target": target, "workload": {"body": 1}, **sections}
    return estimate_work(load_profile_tree(values, "mine.yaml"), load_bundled_catalog())


def estimate_local_work(**sections: Any) -> PlannedWork:
    target = {"model": "digits", **sections.pop("target", {})}
    return estimate_work(
        load_profile_tree({"sizewise": 1, "name": "mine", "target": target, **sections}, "mine.yaml"),
        load_bundled_catalog(),
    )


def test_stages_are_counted_with_repeats_and_requests_are_the_integral_of_the_rate() -> None:
    work = estimate_planned_work(
        load={
            "warmup": "3s",
            "stages": [
                {"name": "steady", "rate": "10/s", "duration": "20s", "repeats": 2},
                {"name": "ramp", "ramp": {"from": "0/s", "to": "30/s"}, "duration": "10s", "lead_in": "1s"},
            ],
        }
    )
    assert work.stages == 3
    assert work.requests == pytest.approx(2 * 200 + 150)
    assert work.duration_s == pytest.approx(3 + 40 + 11)
    assert work.max_duration_s == pytest.approx(6 * (1 + 10) + 51 + 3 * 10)
    assert work.search is None


def test_closed_loop_and_relative_stages_have_no_planned_number_of_requests() -> None:
    stages = [{"name": "most", "concurrency": 8, "duration": "5s"}, {"rate": "50% of most", "duration": "5s"}]
    work = estimate_planned_work(load={"warmup": "0s", "stages": stages})
    assert (work.requests, work.closed_stages, work.relative_stages) == (0, 1, 1)
    assert work.max_duration_s == 10 + 2 * 10


def test_requests_of_a_trace_are_counted_within_the_stage_duration(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("timestamp\n0\n1\n2\n9\n")
    work = estimate_planned_work(load={"stages": [{"trace": str(trace), "duration": "5s"}]})
    assert work.requests == 3


def test_planned_search_is_simulated_against_servers_with_known_limits() -> None:
    work = estimate_planned_work(
        load={"search": {"start": "10/s", "step_duration": "10s"}}, slo=["latency_ms.p50 < 50"]
    )
    assert work.search is not None
    assert work.search.probes[0] < work.search.probes[1] <= 25
    assert work.search.assumed_per_s[0] == 10
    assert work.duration_s >= work.search.duration_s[0] >= 10 * work.search.probes[0]
    assert work.search.requests[0] < work.search.requests[1]


def test_simulated_probes_converge_to_the_max_rate_of_the_server() -> None:
    values = {"sizewise": 1, "name": "mine", "target": {"protocol": "http", "url": "http://127.0.0.1:1"},
              "workload": {"body": 1}, "load": {"search": {"start": "10/s"}}, "slo": ["error_rate < 1%"]}  # fmt: skip
    profile = load_profile_tree(values, "mine.yaml")
    assert isinstance(profile, HttpProfile)
    search = profile.load.search
    assert search is not None
    probes = simulate_probes(search, profile.slo, 100.0)
    assert probes[:5] == (10, 20, 40, 80, 160)
    max_rate = max(rate for rate in probes if rate <= 100)
    assert max_rate > 95
    assert probes.count(max_rate) == 3


def test_planned_search_respects_its_time_limit() -> None:
    load = {"warmup": "0s", "search": {"start": "10/s", "step_duration": "10s", "max_duration": "1m"}}
    work = estimate_planned_work(load=load, slo=["error_rate < 1%"])
    assert work.search is not None
    assert work.search.probes[1] == 6
    assert work.search.duration_s[1] <= 6 * (10 + MAX_PROBE_DRAIN_S)


def test_run_limits_shorten_the_planned_run() -> None:
    load = {"warmup": "0s", "stages": [{"rate": "100/s", "duration": "60s"}]}
    by_time = estimate_planned_work(load=load, limits={"duration": "30s"})
    assert (by_time.max_duration_s, by_time.cut_after) == (30, "limits.duration ends the run after 30s")
    by_requests = estimate_planned_work(load=load, limits={"requests": 500})
    assert by_requests.cut_after == "limits.requests ends the run after 500 requests"
    neither = estimate_planned_work(load=load, limits={"duration": "10m", "requests": 1e6})
    assert (neither.cut_after, neither.limits) == (None, ("10m", "1,000,000 requests"))


def test_planned_cost_is_the_duration_at_the_price_of_the_offer() -> None:
    load = {"warmup": "0s", "stages": [{"rate": "1/s", "duration": "1h"}]}
    priced = estimate_planned_work(load=load, target={"hardware": {"offer": "aws/g6.2xlarge"}})
    assert priced.usd is not None
    offer = next(o for o in load_bundled_catalog().offers if (o.provider, o.instance_type) == ("aws", "g6.2xlarge"))
    assert priced.usd[0] == pytest.approx(offer.on_demand_usd_per_hour)
    assert priced.usd[1] > priced.usd[0]
    limited = estimate_planned_work(load=load, target={"hardware": {"offer": "aws/g6.2xlarge"}}, limits={"usd": 0.01})
    assert (limited.usd, limited.cut_after) == ((0.01, 0.01), "limits.usd ends the run after $0.01")
    free = estimate_planned_work(load=load)
    assert (free.usd, free.usd_reason) == (None, "the price is unknown: the target has no hardware offer")


def test_planned_tokens_follow_the_drawn_lengths() -> None:
    work = estimate_planned_work(
        target={"protocol": "openai-chat", "model": "m"},
        workload={"prompts": {"input_tokens": 100, "output_tokens": 20, "prefix": {"tokens": 50}}},
        load={"stages": [{"rate": "2/s", "duration": "10s"}]},
    )
    assert (work.requests, work.tokens_in, work.tokens_out) == (20, 20 * 150, 20 * 20)


def test_planned_local_run_has_variants_times_scenarios() -> None:
    load = {
        "scenarios": ["single-stream", "multi-stream", "offline"],
        "min_duration": "1s",
        "max_duration": "5s",
        "warmup": "2s",
    }
    work = estimate_local_work(target={"batch": [1, 4], "streams": [1, 2]}, load=load)
    assert (work.variants, work.stages) == (4, 4 * 2 + 2)
    assert (work.duration_s, work.max_duration_s) == (10, 10 * 7)
    assert work.requests is None
