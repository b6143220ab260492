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


def test_the_same_seed_draws_the_same_lengths_within_their_bounds() -> None:
    drawn = lengths(prompts={"input_tokens": "uniform 100 to 800", "output_tokens": 64, "unique": 500})
    assert drawn == lengths(prompts={"input_tokens": "uniform 100 to 800", "output_tokens": 64, "unique": 500})
    assert len(drawn.input_tokens) == drawn.distinct_prompts == 500
    assert min(drawn.input_tokens) >= 100
    assert max(drawn.input_tokens) <= 800
    assert set(drawn.output_tokens) == {64}


def test_a_session_carries_its_earlier_turns() -> None:
    drawn = lengths(
        prompts={"input_tokens": 10, "output_tokens": 5, "turns": 3, "prefix": {"tokens": 100}, "unique": 2}
    )
    assert drawn.input_tokens == (110, 125, 140) * 2
    assert drawn.requests_per_session == 3


def test_documents_of_a_reranking_are_in_its_request() -> None:
    assert lengths("openai-rerank", prompts={"input_tokens": 10, "unique": 1}, documents=4).input_tokens == (50,)


def test_the_lengths_of_classes_are_mixed_by_their_shares_of_the_requests() -> None:
    one = {"input_tokens": 10, "output_tokens": 5}
    classes = [
        {"name": "single", "weight": 3, "prompts": one},
        {"name": "session", "weight": 1, "prompts": one | {"turns": 3, "input_tokens": 100}},
    ]
    drawn = lengths(classes=classes)
    assert drawn.requests_per_session == 0.75 + 0.25 * 3
    assert drawn.input_tokens.count(10) == len(drawn.input_tokens) / 2, "as many requests as sessions have turns"
    assert set(drawn.input_tokens) == {10, 100, 205, 310}
    assert set(drawn.output_tokens) == {5}
    assert drawn.distinct_prompts == 2000
    endless = lengths(classes=[{"name": "a"}, {"name": "b", "prompts": {"input_tokens": 9}}], prompts=one)
    assert (endless.output_tokens, endless.reason) == ((), None), "one class lets the model choose"


def test_a_dataset_says_why_nothing_can_be_reported(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "hello"}\n')
    drawn = lengths(dataset=str(tmp_path / "d.jsonl"))
    assert "tokenizer" in str(drawn.reason)
    assert not drawn.input_tokens
    mixed = lengths(classes=[{"name": "asked", "dataset": str(tmp_path / "d.jsonl")}])
    assert mixed.reason == f"class asked: {drawn.reason}"


def planned(**parts: Any) -> PlannedWork:
    target = {"protocol": "http", "url": "http://127.0.0.1:1", "timeouts": {"total": "10s"}, **parts.pop("target", {})}
    values = {"sizewise": 1, "name": "mine", "target": target, "workload": {"body": 1}, **parts}
    return estimate_work(load_profile_tree(values, "mine.yaml"), load_bundled_catalog())


def local(**parts: Any) -> PlannedWork:
    target = {"model": "digits", **parts.pop("target", {})}
    return estimate_work(
        load_profile_tree({"sizewise": 1, "name": "mine", "target": target, **parts}, "mine.yaml"),
        load_bundled_catalog(),
    )


def test_stages_are_counted_with_their_repeats_and_requests_are_the_area_under_the_rates() -> None:
    work = planned(
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


def test_clients_send_as_many_as_come_and_a_share_of_a_stage_is_not_known() -> None:
    stages = [{"name": "most", "concurrency": 8, "duration": "5s"}, {"rate": "50% of most", "duration": "5s"}]
    work = planned(load={"warmup": "0s", "stages": stages})
    assert (work.requests, work.closed_stages, work.relative_stages) == (0, 1, 1)
    assert work.max_duration_s == 10 + 2 * 10


def test_a_trace_is_counted_line_by_line(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("timestamp\n0\n1\n2\n9\n")
    work = planned(load={"stages": [{"trace": str(trace), "duration": "5s"}]})
    assert work.requests == 3


def test_a_search_is_played_against_servers_of_known_limits() -> None:
    work = planned(load={"search": {"start": "10/s", "step_duration": "10s"}}, slo=["latency_ms.p50 < 50"])
    assert work.search is not None
    assert work.search.probes[0] < work.search.probes[1] <= 25
    assert work.search.assumed_per_s[0] == 10
    assert work.duration_s >= work.search.duration_s[0] >= 10 * work.search.probes[0]
    assert work.search.requests[0] < work.search.requests[1]


def test_the_probes_of_a_search_end_at_what_the_server_carries() -> None:
    values = {"sizewise": 1, "name": "mine", "target": {"protocol": "http", "url": "http://127.0.0.1:1"},
              "workload": {"body": 1}, "load": {"search": {"start": "10/s"}}, "slo": ["error_rate < 1%"]}  # fmt: skip
    profile = load_profile_tree(values, "mine.yaml")
    assert isinstance(profile, HttpProfile)
    wanted = profile.load.search
    assert wanted is not None
    tried = simulate_probes(wanted, profile.slo, 100.0)
    assert tried[:5] == (10, 20, 40, 80, 160)
    held = max(rate for rate in tried if rate <= 100)
    assert held > 95
    assert tried.count(held) == 3


def test_a_search_that_ends_in_its_time_is_planned_so() -> None:
    load = {"warmup": "0s", "search": {"start": "10/s", "step_duration": "10s", "max_duration": "1m"}}
    work = planned(load=load, slo=["error_rate < 1%"])
    assert work.search is not None
    assert work.search.probes[1] == 6
    assert work.search.duration_s[1] <= 6 * (10 + MAX_PROBE_DRAIN_S)


def test_limits_cut_what_they_end() -> None:
    load = {"warmup": "0s", "stages": [{"rate": "100/s", "duration": "60s"}]}
    by_time = planned(load=load, limits={"duration": "30s"})
    assert (by_time.max_duration_s, by_time.cut_after) == (30, "limits.duration ends the run after 30s")
    by_requests = planned(load=load, limits={"requests": 500})
    assert by_requests.cut_after == "limits.requests ends the run after 500 requests"
    neither = planned(load=load, limits={"duration": "10m", "requests": 1e6})
    assert (neither.cut_after, neither.limits) == (None, ("10m", "1,000,000 requests"))


def test_money_is_the_time_on_the_named_offer() -> None:
    load = {"warmup": "0s", "stages": [{"rate": "1/s", "duration": "1h"}]}
    priced = planned(load=load, target={"hardware": {"offer": "aws/g6.2xlarge"}})
    assert priced.usd is not None
    offer = next(o for o in load_bundled_catalog().offers if (o.provider, o.instance_type) == ("aws", "g6.2xlarge"))
    assert priced.usd[0] == pytest.approx(offer.on_demand_usd_per_hour)
    assert priced.usd[1] > priced.usd[0]
    limited = planned(load=load, target={"hardware": {"offer": "aws/g6.2xlarge"}}, limits={"usd": 0.01})
    assert (limited.usd, limited.cut_after) == ((0.01, 0.01), "limits.usd ends the run after $0.01")
    free = planned(load=load)
    assert (free.usd, free.usd_reason) == (None, "the price is unknown: the target has no hardware offer")


def test_tokens_are_those_of_the_drawn_lengths() -> None:
    work = planned(
        target={"protocol": "openai-chat", "model": "m"},
        workload={"prompts": {"input_tokens": 100, "output_tokens": 20, "prefix": {"tokens": 50}}},
        load={"stages": [{"rate": "2/s", "duration": "10s"}]},
    )
    assert (work.requests, work.tokens_in, work.tokens_out) == (20, 20 * 150, 20 * 20)


def test_a_grid_of_a_local_model_is_variants_times_scenarios() -> None:
    load = {
        "scenarios": ["single-stream", "multi-stream", "offline"],
        "min_duration": "1s",
        "max_duration": "5s",
        "warmup": "2s",
    }
    work = local(target={"batch": [1, 4], "streams": [1, 2]}, load=load)
    assert (work.variants, work.stages) == (4, 4 * 2 + 2)
    assert (work.duration_s, work.max_duration_s) == (10, 10 * 7)
    assert work.requests is None
