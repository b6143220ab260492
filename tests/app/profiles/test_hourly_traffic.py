from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ProfileError
from app.profiles.hourly_traffic import is_hourly_traffic
from app.profiles.loading import load_traffic

RATES = [10.0 + hour for hour in range(24)]


def write_day(folder: Path, header: str, rows: list[str]) -> Path:
    path = folder / "day.csv"
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "row", "peak_per_s"),
    [
        ("hour,rate_per_s", "{hour},{rate}", 33.0),
        ("Hour,RPS,note", "{hour:02d}:00,{rate}/s,x", 33.0),
        ("requests,hour", "{rate},{hour}", 33.0 / 3600),
    ],
)
def test_hourly_csv_is_read_as_a_traffic_shape(tmp_path: Path, header: str, row: str, peak_per_s: float) -> None:
    rows = [row.format(hour=hour, rate=rate) for hour, rate in enumerate(RATES)]
    traffic = load_traffic(write_day(tmp_path, header, rows[::-1]))
    assert traffic.peak_per_s == pytest.approx(peak_per_s)
    assert traffic.shape == pytest.approx([rate / 33 for rate in RATES])


@pytest.mark.parametrize(
    ("header", "change", "line"),
    [
        ("hour,when", {}, 1),
        ("hour,rate,rps", {}, 1),
        ("hour,rate", {3: "24,5"}, 5),
        ("hour,rate", {3: "noon,5"}, 5),
        ("hour,rate", {3: "3,many"}, 5),
        ("hour,rate", {3: "3,-1"}, 5),
        ("hour,rate", {3: "2,5"}, 5),
        ("hour,rate", {3: "3"}, 5),
        ("hour,rate", {3: ""}, None),
        ("hour,rate", {hour: f"{hour},0" for hour in range(24)}, None),
    ],
)
def test_incomplete_or_invalid_hourly_csv_is_rejected_with_its_line(
    tmp_path: Path, header: str, change: dict[int, str], line: int | None
) -> None:
    rows = [change.get(hour, f"{hour},{rate}") for hour, rate in enumerate(RATES)]
    with pytest.raises(ProfileError) as refused:
        load_traffic(write_day(tmp_path, header, rows))
    assert refused.value.line == line


def test_traces_and_yaml_files_are_not_hourly_traffic(tmp_path: Path) -> None:
    assert not is_hourly_traffic(write_day(tmp_path, "timestamp,input_tokens", ["0,5"]))
    assert not is_hourly_traffic(tmp_path / "day.yaml")
