from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.errors import UsageError
from app.planning.exports.settings import ExportSettings, fill_in_settings, get_value, list_placeholders
from app.records.plan import Plan
from app.records.server import MeasuredServer
from tests.app.planning.exports.planned import planned, with_fleet, without_recommendation


@pytest.mark.parametrize(
    "wrong",
    [
        {"namespace": "My Team"}, {"namespace": ""}, {"namespace": "a" * 64}, {"namespace": "a\nb"}, {"port": 0},
        {"ready_port": 65536},
        {"port": 65536}, {"node_share": 0.0}, {"node_share": 1.1}, {"start_early_minutes": 60},
        {"start_early_minutes": -1}, {"start_within_s": 0.0}, {"start_within_s": float("nan")},
        {"timezone": "Europe/Berlin; x"}, {"timezone": ""}, {"accelerator_resource": "gpu"},
        {"accelerator_resource": "nvidia.com/"},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ExportSettings(**wrong)


def test_what_was_not_given_is_filled_in_and_reported() -> None:
    nothing = ExportSettings()
    assert get_value(nothing, "image").startswith("REPLACE-ME/")
    reported = list_placeholders(nothing, "image", "port")
    assert [sentence.partition(": ")[0] for sentence in reported] == ["REPLACE-ME/your-server:tag", "8080"]
    given = ExportSettings(image="mine", port=8080)
    assert (get_value(given, "image"), given.port_or_default, list_placeholders(given, "image", "port")) == (
        "mine",
        8080,
        [],
    )


SERVER = MeasuredServer("Fraud scoring", 8000, "/health", 9001, "/alive")


def measured(server: MeasuredServer | None = SERVER) -> Plan:
    return msgspec.structs.replace(with_fleet(planned(), memory_gib=32.0), server=server)


def test_a_plan_fills_in_what_it_knows_of_the_server_and_the_instance() -> None:
    assert fill_in_settings(ExportSettings(), measured()) == ExportSettings(
        name="Fraud scoring", port=8000, ready_path="/health", ready_port=9001, live_path="/alive",
        instance_memory_gib=32.0,
    )  # fmt: skip
    assert fill_in_settings(ExportSettings(), measured(None)) == ExportSettings(instance_memory_gib=32.0)
    assert fill_in_settings(ExportSettings(), without_recommendation(planned())) == ExportSettings()


def test_what_was_given_goes_before_the_plan() -> None:
    given = ExportSettings(
        name="mine", port=1, ready_path="/r", ready_port=2, live_path="/l", instance_memory_gib=1.0
    )  # fmt: skip
    assert fill_in_settings(given, measured()) == given
    path = fill_in_settings(ExportSettings(ready_path="/r"), measured())
    assert (path.ready_path, path.ready_port) == ("/r", None), "the measured port is that of the measured path"


def test_a_name_becomes_a_label() -> None:
    assert ExportSettings().dns_name == "sizewise"
    assert fill_in_settings(ExportSettings(), measured()).dns_name == "fraud-scoring"
