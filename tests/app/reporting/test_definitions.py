from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest

from app.reporting.definitions import build_definitions
from reports.model import Definitions, DefinitionTable, Quantity
from tests.fakes.results import Run, full_run, run_without_load
from tests.fakes.traffic import clients_run, locust_run, streaming_run

TOOLS = ["Sizewise", "vLLM", "GuideLLM", "AIPerf", "genai-bench", "inference-perf"]


def build_definitions_of(run: Run) -> Definitions | None:
    return build_definitions(pa.Table.from_pandas(run.rows, preserve_index=False), run.result)


@pytest.fixture(scope="module")
def chat() -> Definitions:
    definitions = build_definitions_of(streaming_run())
    assert definitions is not None
    return definitions


def row(table: DefinitionTable, label: str) -> dict[str, Quantity | None]:
    (matching_row,) = [line for line in table.rows if " ".join(filter(None, (line.metric, line.aggregate))) == label]
    return dict(zip(TOOLS, matching_row.quantities, strict=True))


def test_definitions_have_a_table_per_stage_with_all_tools(chat: Definitions) -> None:
    stage = streaming_run().result.stages[0]
    (table,) = chat.tables
    assert (table.stage, [tool.name for tool in chat.tools]) == ("chat", TOOLS)
    assert table.requests == (stage.completed,) * 6
    ttft = row(table, "TTFT mean")
    from_scheduled, from_send = stage.metrics["ttft_ms"]["mean"].value, stage.metrics["ttft_service_ms"]["mean"].value
    assert ttft["Sizewise"] is not None
    assert ttft["Sizewise"].value == from_scheduled
    assert ttft["AIPerf"] is not None
    assert ttft["AIPerf"].value == pytest.approx(from_send)
    assert row(table, "TTFT p95")["vLLM"] is None
    assert row(table, "req/s")["GuideLLM"] is not None


def test_every_defined_metric_is_explained_for_each_tool(chat: Definitions) -> None:
    metrics = list(dict.fromkeys(line.metric for line in chat.tables[0].rows))
    assert list(dict.fromkeys(explanation.metric for explanation in chat.explanations)) == metrics
    explained = {(explanation.metric, explanation.tool) for explanation in chat.explanations}
    for line in chat.tables[0].rows:
        printed = [name for name, quantity in zip(TOOLS, line.quantities, strict=True) if quantity is not None]
        assert {(line.metric, name) for name in printed} <= explained
    assert chat.remark is None


def test_definitions_without_tokens_have_a_remark() -> None:
    definitions = build_definitions_of(clients_run())
    assert definitions is not None
    assert [table.stage for table in definitions.tables] == [f"{count} clients" for count in (1, 2, 4, 8, 16, 32)]
    assert {line.metric for line in definitions.tables[0].rows} == {"E2E", "req/s"}
    assert (definitions.remark or "").startswith("No tokens were received")


def test_definitions_without_scheduled_start_use_the_send_time() -> None:
    definitions = build_definitions_of(locust_run())
    assert definitions is not None
    end_to_end = row(definitions.tables[0], "E2E p50")
    assert end_to_end["Sizewise"] is not None
    assert end_to_end["Sizewise"].reason == "the scheduled start is unknown"
    assert end_to_end["vLLM"] is not None
    assert end_to_end["vLLM"].value is not None


def test_definitions_remark_names_apis_that_tools_do_not_support() -> None:
    run = streaming_run()
    for protocol, remark in (
        ("openai-responses", "Only GuideLLM and AIPerf support"),
        ("anthropic-messages", "The tools are compared as if they supported the Messages API"),
    ):
        target = msgspec.structs.replace(run.result.target, protocol=protocol)
        definitions = build_definitions_of(
            msgspec.structs.replace(run, result=msgspec.structs.replace(run.result, target=target))
        )
        assert definitions is not None
        assert (definitions.remark or "").startswith(remark)


def test_warm_ups_and_pooled_stages_have_no_definitions_table() -> None:
    definitions = build_definitions_of(full_run())
    assert definitions is not None
    load_stages = [stage for stage in full_run().result.stages if stage.variant is None and stage.kind != "warmup"]
    assert len(definitions.tables) == len([stage for stage in load_stages if not stage.is_pooled]) < len(load_stages)
    assert build_definitions_of(run_without_load()) is None
