from __future__ import annotations

from typing import Any

import pytest

from app.errors import UsageError
from app.planning.exports.settings import ExportSettings, get_value, list_placeholders


@pytest.mark.parametrize(
    "wrong",
    [
        {"namespace": "My Team"}, {"namespace": ""}, {"namespace": "a" * 64}, {"namespace": "a\nb"}, {"port": 0},
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
