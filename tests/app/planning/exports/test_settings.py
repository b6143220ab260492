from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.errors import UsageError
from app.planning.exports.settings import ExportSettings, fill_in_settings, get_value, list_placeholders
from app.records.plan import Plan
from app.records.server import MeasuredServer
from tests.app.planning.exports.planned import build_plan, with_fleet, without_recommendation


@pytest.mark.parametrize(
    "invalid",
    [
        {"namespace": "My Team"}, {"namespace": ""}, {"namespace": "a" * 64}, {"namespace": "a\nb"}, {"port": 0},
        {"ready_port": 65536},
        {"port": 65536}, {"node_share": 0.0}, {"node_share": 1.1}, {"start_early_minutes": 60},
        {"start_early_minutes": -1}, {"start_within_s": 0.0}, {"start_within_s": float("nan")},
        {"timezone": "Europe/Berlin; x"}, {"timezone": ""}, {"accelerator_resource": "gpu"},
        {"accelerator_resource": "nvidia.com/"},
    ],
)  # fmt: skip
def test_invalid_export_settings_are_refused(invalid: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ExportSettings(**invalid)


def test_missing_settings_have_listed_placeholders() -> None:
    defaults = ExportSettings()
    assert get_value(defaults, "image").startswith("REPLACE-ME/")
    placeholders = list_placeholders(defaults, "image", "port")
    assert [sentence.partition(": ")[0] for sentence in placeholders] == ["REPLACE-ME/your-server:tag", "8080"]
    settings = ExportSettings(image="mine", port=8080)
    assert (get_value(settings, "image"), settings.port_or_default, list_placeholders(settings, "image", "port")) == (
        "mine",
        8080,
        [],
    )


SERVER = MeasuredServer("Fraud scoring", 8000, "/health", 9001, "/alive")


def build_measured_plan(server: MeasuredServer | None = SERVER) -> Plan:
    return msgspec.structs.replace(with_fleet(build_plan(), memory_gib=32.0), server=server)


def test_missing_settings_are_filled_in_from_measured_server_and_instance() -> None:
    assert fill_in_settings(ExportSettings(), build_measured_plan()) == ExportSettings(
        name="Fraud scoring", port=8000, ready_path="/health", ready_port=9001, live_path="/alive",
        instance_memory_gib=32.0,
    )  # fmt: skip
    assert fill_in_settings(ExportSettings(), build_measured_plan(None)) == ExportSettings(instance_memory_gib=32.0)
    assert fill_in_settings(ExportSettings(), without_recommendation(build_plan())) == ExportSettings()


def test_explicit_settings_override_the_plan() -> None:
    settings = ExportSettings(
        name="mine", port=1, ready_path="/r", ready_port=2, live_path="/l", instance_memory_gib=1.0
    )  # fmt: skip
    assert fill_in_settings(settings, build_measured_plan()) == settings
    with_ready_path = fill_in_settings(ExportSettings(ready_path="/r"), build_measured_plan())
    assert (with_ready_path.ready_path, with_ready_path.ready_port) == ("/r", None), (
        "the measured port is that of the measured path"
    )


def test_dns_name_defaults_to_sizewise_or_the_server_name() -> None:
    assert ExportSettings().dns_name == "sizewise"
    assert fill_in_settings(ExportSettings(), build_measured_plan()).dns_name == "fraud-scoring"
