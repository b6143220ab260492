"""The times in the endpoint's own metrics are those that the load generator measures from outside."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest

from app.inference.generation.decoder_files import write_random_decoder
from app.inference.generation.decoder_shape import PagedCache
from app.serving.process import EndpointProcess
from app.serving.settings import ServingSettings
from app.telemetry.metrics_page import parse_samples
from loadgen.process import LoadProcess
from loadgen.records import ClosedArrivals, Endpoint, StageLoad, StagePlan
from loadgen.workloads import FixedLength, OpenAiWorkload, SyntheticPrompts
from tests.fakes import decoders

pytestmark = pytest.mark.timing
CONCURRENCIES = (1, 2, 4)
MAX_DIFFERENCE_S = 0.001
OUTPUT_TOKENS = 32


def read_times(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as page:
        samples = parse_samples(page.read().decode())
        return {sample.name: sample.value for sample in samples if sample.name.endswith(("_sum", "_count", "_total"))}


def test_endpoint_metrics_equal_those_of_the_load_generator(tmp_path: Path) -> None:
    shape = decoders.shape(vocabulary=4096)
    write_random_decoder(tmp_path / "m", shape, decoders.SEED, PagedCache(max_batch=8))
    prompts = SyntheticPrompts(FixedLength(16), FixedLength(OUTPUT_TOKENS))
    workload = OpenAiWorkload("chat", "m", prompts, extra_body=b'{"ignore_eos": true}')
    settings = ServingSettings(model=str(tmp_path / "m"), name="m")
    with EndpointProcess(settings) as endpoint, LoadProcess() as load:
        load.configure(Endpoint(urls=(endpoint.ready.base_url,)), workload)
        assert load.preflight().error is None
        for index, concurrency in enumerate(CONCURRENCIES):
            before = read_times(endpoint.ready.url)
            batches: list[pa.RecordBatch] = []
            plan = StagePlan(index, "steady", StageLoad(ClosedArrivals(concurrency), 3.0), seed=1)
            load.run_stage(plan, batches.append, lambda _: None, lambda _: True)
            rows = pa.Table.from_batches(batches).to_pandas()
            increase = {name: value - before[name] for name, value in read_times(endpoint.ready.url).items()}
            assert len(rows) == increase["vllm:time_to_first_token_seconds_count"]
            assert rows["tokens_out"].sum() == increase["vllm:generation_tokens_total"] == OUTPUT_TOKENS * len(rows)
            assert rows["tokens_in"].sum() == increase["vllm:prompt_tokens_total"]
            for name, end_column in (("time_to_first_token", "first_event_ns"), ("e2e_request_latency", "end_ns")):
                reported_s = increase[f"vllm:{name}_seconds_sum"] / len(rows)
                measured_s = (rows[end_column] - rows["sent_ns"]).mean() / 1e9
                assert measured_s == pytest.approx(reported_s, abs=MAX_DIFFERENCE_S)
