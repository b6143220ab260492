from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest

from app.reporting.definitions import build_definitions
from reports.model import Definitions, DefinitionTable, Quantity
from tests.fakes.results import Run, full_run, nothing_measured
from tests.fakes.traffic import clients_run, locust_run, streaming_run

TOOLS = ["Sizewise", "vLLM", "GuideLLM", "AIPerf", "genai-bench", "inference-perf"]


def of(run: Run) -> Definitions | None:
    return build_definitions(pa.Table.from_pandas(run.rows, preserve_index=False), run.result)


@pytest.fixture(scope="module")
def chat() -> Definitions:
    found = of(streaming_run())
    assert found is not None
    return found


def row(table: DefinitionTable, label: str) -> dict[str, Quantity | None]:
    (found,) = [one for one in table.rows if " ".join(filter(None, (one.metric, one.aggregate))) == label]
    return dict(zip(TOOLS, found.quantities, strict=True))


def test_each_stage_is_a_table_of_all_tools(chat: Definitions) -> None:
    stage = streaming_run().result.stages[0]
    (table,) = chat.tables
    assert (table.stage, [tool.name for tool in chat.tools]) == ("chat", TOOLS)
    assert table.requests == (stage.completed,) * 6
    ttft = row(table, "TTFT mean")
    own, sent = stage.metrics["ttft_ms"]["mean"].value, stage.metrics["ttft_service_ms"]["mean"].value
    assert ttft["Sizewise"] is not None
    assert ttft["Sizewise"].value == own
    assert ttft["AIPerf"] is not None
    assert ttft["AIPerf"].value == pytest.approx(sent)
    assert row(table, "TTFT p95")["vLLM"] is None
    assert row(table, "req/s")["GuideLLM"] is not None


def test_what_is_shown_is_explained(chat: Definitions) -> None:
    shown = list(dict.fromkeys(one.metric for one in chat.tables[0].rows))
    assert list(dict.fromkeys(one.metric for one in chat.explanations)) == shown
    explained = {(one.metric, one.tool) for one in chat.explanations}
    for line in chat.tables[0].rows:
        printed = [name for name, one in zip(TOOLS, line.quantities, strict=True) if one is not None]
        assert {(line.metric, name) for name in printed} <= explained
    assert chat.remark is None


def test_plain_requests_are_said_to_be_plain() -> None:
    found = of(clients_run())
    assert found is not None
    assert [table.stage for table in found.tables] == [f"{count} clients" for count in (1, 2, 4, 8, 16, 32)]
    assert {one.metric for one in found.tables[0].rows} == {"E2E", "req/s"}
    assert (found.remark or "").startswith("No tokens were received")


def test_a_request_without_an_scheduled_start_has_its_place_by_its_send() -> None:
    found = of(locust_run())
    assert found is not None
    end_to_end = row(found.tables[0], "E2E p50")
    assert end_to_end["Sizewise"] is not None
    assert end_to_end["Sizewise"].reason == "the scheduled start is unknown"
    assert end_to_end["vLLM"] is not None
    assert end_to_end["vLLM"].value is not None


def test_an_api_that_a_tool_does_not_speak_is_named() -> None:
    run = streaming_run()
    for protocol, says in (
        ("openai-responses", "Only GuideLLM and AIPerf support"),
        ("anthropic-messages", "The tools are compared as if they supported the Messages API"),
    ):
        target = msgspec.structs.replace(run.result.target, protocol=protocol)
        found = of(msgspec.structs.replace(run, result=msgspec.structs.replace(run.result, target=target)))
        assert found is not None
        assert (found.remark or "").startswith(says)


def test_warm_ups_pooled_stages_and_runs_without_load_have_no_table() -> None:
    found = of(full_run())
    assert found is not None
    shown = [one for one in full_run().result.stages if one.variant is None and one.kind != "warmup"]
    assert len(found.tables) == len([one for one in shown if not one.is_pooled]) < len(shown)
    assert of(nothing_measured()) is None
