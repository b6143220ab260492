"""A protocol is one row, and a module with its profile class; everything else is derived from them.

The toy protocol is in a process of its own, where its row exists before other modules are imported."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from types import ModuleType
from typing import Any, ClassVar, cast, get_args

import msgspec
import pyarrow as pa
import pytest

from app.records import protocols
from app.records.protocols import PROTOCOLS
from app.reporting.definitions import build_definitions
from loadgen.protocols import build_requests
from loadgen.protocols.prepared import PreparedWorkload
from loadgen.records import Endpoint
from loadgen.transport.address import Address, parse_url
from loadgen.workloads import HttpWorkload, ProtocolWorkload, Workload
from tests.fakes.toy_protocol import TOY
from tests.fakes.traffic import streaming_run

URL = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def toy() -> dict[str, Any]:
    """What the program makes of the toy protocol."""
    command = [sys.executable, "-m", "tests.fakes.toy_protocol"]
    observations: dict[str, Any] = json.loads(
        subprocess.run(command, capture_output=True, check=True, timeout=120).stdout
    )
    return observations


@pytest.mark.process
def test_command_line_has_an_option_for_the_url_of_a_new_protocol(toy: dict[str, Any]) -> None:
    assert ["--toy", "URL"] in [line.split()[:2] for line in toy["help"].splitlines()]
    assert "--toy" in toy["synonym"]
    code, keys = toy["keys"]
    assert code == 0
    assert "question" in keys


@pytest.mark.process
def test_url_names_a_new_protocol_and_its_model(toy: dict[str, Any]) -> None:
    assert toy["positional"] == ["toy", "lion"]
    assert toy["option"] == ["toy", "bear"], "the only model that the server lists"


@pytest.mark.process
def test_init_offers_a_new_protocol(toy: dict[str, Any]) -> None:
    code, dialog = toy["init"]
    assert code == 0, dialog
    assert TOY.init_choice is not None
    assert TOY.init_choice[1] in dialog
    assert f"target: {{protocol: toy, url: '{URL}', model: lion}}" in toy["written"].splitlines()


@pytest.mark.process
def test_profile_is_converted_to_a_new_protocol_and_back(toy: dict[str, Any]) -> None:
    template, adapted = toy["template"], toy["adapted"]
    assert template["target"] == {"protocol": "toy", **TOY.target}
    assert (template["workload"], template["slo"]) == (TOY.workload, [*TOY.objectives])
    assert adapted["target"] == {"protocol": "toy", "url": URL, "model": "lion"}
    assert toy["back"] == [*protocols.get_protocol("openai-chat").objectives]


@pytest.mark.process
def test_new_protocol_is_measured(toy: dict[str, Any]) -> None:
    assert toy["test"] == ["toy", "scripted", None, 200]
    assert toy["requests"] == 1500
    assert toy["ready_path"] == "/toy/my-model/ready"


@pytest.mark.process
def test_run_page_offers_a_new_protocol(toy: dict[str, Any]) -> None:
    assert [name for _, name in toy["choices"]] == [*(protocol.id for protocol in PROTOCOLS), "toy"]
    assert toy["choices"][-1] == [TOY.title, "toy"]
    assert toy["summary"].startswith(TOY.title)
    assert toy["has_question"]


@pytest.mark.process
def test_documentation_lists_a_new_protocol(toy: dict[str, Any]) -> None:
    pages = toy["docs"]
    assert f"| `toy` ({TOY.servers}) | {TOY.url_meaning} | `model` |" in pages["target_protocols"].splitlines()
    assert "| `toy` | `question` (why) |" in pages["workload_keys"].splitlines()
    assert "| `toy` | `/toy/MODEL/ready` | – |" in pages["probes"].splitlines()
    assert "| `--toy URL` | URL of a toy server |" in pages["cli"].splitlines()
    assert "| `workload.question` |" in pages["profile_keys"]


def test_report_has_the_remark_of_a_new_protocol_on_the_metrics_of_other_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "PROTOCOLS", (*PROTOCOLS, TOY))
    run = streaming_run()
    target = msgspec.structs.replace(run.result.target, protocol="toy")
    definitions = build_definitions(
        pa.Table.from_pandas(run.rows, preserve_index=False), msgspec.structs.replace(run.result, target=target)
    )
    assert definitions is not None
    assert definitions.remark == TOY.definitions_remark


class ToyWorkload(ProtocolWorkload, frozen=True, tag="toy"):
    builder: ClassVar[str] = "toy.build_toy"
    question: str


def test_new_client_is_named_by_its_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    def build_toy(workload: ToyWorkload, endpoint: Endpoint, address: Address) -> PreparedWorkload | None:
        return build_requests(HttpWorkload(path=f"/{workload.question}"), endpoint, address)

    module = ModuleType("loadgen.protocols.toy")
    module.__dict__["build_toy"] = build_toy
    monkeypatch.setitem(sys.modules, module.__name__, module)
    prepared = build_requests(cast(Workload, ToyWorkload("why")), Endpoint((URL,)), parse_url(URL))
    assert prepared is not None
    assert prepared.requests[0].startswith(b"GET /why HTTP/1.1\r\n")


@pytest.mark.parametrize("workload", [member for member in get_args(Workload) if member.builder])
def test_builder_of_every_workload_exists(workload: type[ProtocolWorkload]) -> None:
    module, _, function = workload.builder.rpartition(".")
    assert callable(getattr(importlib.import_module(f"loadgen.protocols.{module}"), function))
