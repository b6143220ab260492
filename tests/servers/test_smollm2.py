"""Prompt processing and token generation of one real model: by a local run, by the served Engine and by llama.cpp.

The table is printed (`pytest -s`). Its rates differ for known reasons: the formats of the weights (llama.cpp computes
the file's Q4_1, the others its conversion), the kernels, and the HTTP round trip, which the time to the first token
includes. So only what must be equal is asserted: the tokens that each side counted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from app.inference.generation.decoder_shape import PagedCache
from app.inference.generation.gguf_conversion import convert_gguf
from app.inference.generation.model_folder import read_model_folder
from app.inference.job import CallRows, Measure, MeasurementStarted, VariantJob
from app.inference.process import VariantProcess
from app.records.calls import unpack_calls
from app.records.local import GenerationTest
from app.serving.process import EndpointProcess
from app.serving.settings import ServingSettings
from loadgen.process import LoadProcess
from loadgen.records import ClosedArrivals, Endpoint, StageLoad, StagePlan
from loadgen.workloads import FixedLength, OpenAiWorkload, SyntheticPrompts

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

PROMPT_TOKENS, OUTPUT_TOKENS = 128, 32
CONVERSION_S = 300.0
STAGE_S = 10.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conversions")


def measure_locally(folder: Path, test: GenerationTest) -> float:
    """Return the mean rate of a test in tokens/s."""
    seconds: list[float] = []
    started: list[MeasurementStarted] = []

    def on_report(report: MeasurementStarted | CallRows) -> None:
        if isinstance(report, MeasurementStarted):
            started.append(report)
        elif started:
            rows = unpack_calls(0, report.packed).to_pandas()
            for _, steps in rows.groupby("query"):
                seconds.append((steps["end_ns"].max() - steps["begin_ns"].min()) / 1e9)

    variant = VariantProcess("SmolLM2", VariantJob(model=str(folder), provider="cpu", batch=1, is_language_model=True))
    try:
        variant.wait_until_open(60)
        command = Measure(
            scenario="generation", batch=1, streams=1, min_duration_s=0.0, max_duration_s=STAGE_S, half_width=0.02,
            min_calls=3, max_warmup_s=1.0, test=test,
        )  # fmt: skip
        variant.measure(command, on_report)
    finally:
        variant.close()
    return (test.prompt_tokens + test.output_tokens) / float(np.mean(seconds))


def measure_endpoint(url: str, model: str) -> tuple[float, float, pd.DataFrame]:
    """Return the rates of prompt processing and token generation in tokens/s, and the requests."""
    prompts = SyntheticPrompts(FixedLength(PROMPT_TOKENS), FixedLength(OUTPUT_TOKENS), unique=50)
    workload = OpenAiWorkload("completions", model, prompts, extra_body=b'{"ignore_eos": true}')
    batches: list[pa.RecordBatch] = []
    with LoadProcess() as load:
        load.configure(Endpoint((url,), reuses_connections=False), workload)
        preflight = load.preflight()
        assert preflight.error is None, preflight.detail
        plan = StagePlan(0, "closed", StageLoad(ClosedArrivals(1), STAGE_S), seed=1, drain_s=30)
        load.run_stage(plan, batches.append, lambda _: None, lambda _: True)
    rows: pd.DataFrame = pa.Table.from_batches(batches).to_pandas()
    first_token_s = (rows["first_token_ns"] - rows["sent_ns"]) / 1e9
    gap_s = (rows["last_token_ns"] - rows["first_token_ns"]) / 1e9 / (rows["tokens_out"] - 1)
    return float((rows["tokens_in"] / first_token_s).mean()), float(1 / gap_s.mean()), rows


def test_endpoint_and_llama_cpp_count_equal_prompt_and_output_tokens(
    smollm2: Path, llama_smollm2: str, cache: Path
) -> None:
    contiguous = convert_gguf(smollm2, 4, cache=cache, timeout_s=CONVERSION_S)
    paged = convert_gguf(smollm2, 4, PagedCache(), cache=cache, timeout_s=CONVERSION_S)
    assert read_model_folder(contiguous).layers == 30
    table = {
        "local run, int4": (
            measure_locally(contiguous, GenerationTest(PROMPT_TOKENS, 0)),
            measure_locally(contiguous, GenerationTest(0, OUTPUT_TOKENS)),
        )
    }
    with EndpointProcess(ServingSettings(model=str(paged), name="smollm2")) as endpoint:
        served = measure_endpoint(f"{endpoint.ready.url}/v1", "smollm2")
    llama = measure_endpoint(llama_smollm2, "smollm2")
    table |= {"served Engine, int4": served[:2], "llama.cpp, Q4_1": llama[:2]}
    print(f"\n{'1 thread':20} {f'pp{PROMPT_TOKENS}':>10} {f'tg{OUTPUT_TOKENS}':>10}  tok/s")
    for name, (prefill, decode) in table.items():
        print(f"{name:20} {prefill:10.1f} {decode:10.1f}")
    for rows in (served[2], llama[2]):
        assert len(rows) > 1
        assert rows["error"].isna().all(), rows["error"].value_counts().to_dict()
        assert set(rows["token_source"]) == {"server"}
        assert set(rows["tokens_out"]) == {OUTPUT_TOKENS}
    assert all(rate > 0 for rates in table.values() for rate in rates)
    # Both servers tokenize the same prompts with the same vocabulary.
    counts = served[2].merge(llama[2], on="index", suffixes=("_served", "_llama"))
    assert len(counts) > 1
    assert (counts["tokens_in_served"] == counts["tokens_in_llama"]).all()
