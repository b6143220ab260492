from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app.errors import UsageError
from app.profiles.loading import load_profile_tree
from app.profiles.profile import Profile
from app.wiring.machine import build_sampler, check_run_directory
from tests.fakes.metrics_page import MetricsPage, http_response


def test_run_directory_on_a_network_file_system_is_a_warning_with_a_hint(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n")
    assert check_run_directory(tmp_path, mounts) == ()
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nfiler:/x {tmp_path} nfs4 rw 0 0\n")
    (check,) = check_run_directory(tmp_path / "run", mounts)
    assert (check.verdict, check.value) == ("WARN", f"on nfs4 at {tmp_path}")
    assert "directory on a local disk" in str(check.hint)


PAGE = http_response(b'DCGM_FI_DEV_POWER_USAGE{gpu="0"} 250.5\n')


def profile(tmp_path: Path, *scrapes: dict[str, Any]) -> Profile:
    target = {"protocol": "http", "url": "http://127.0.0.1:9/"}
    stages = [{"name": "s", "rate": "1/s", "duration": "1s"}]
    values = {"sizewise": 1, "name": "t", "target": target, "workload": {}, "load": {"stages": stages}}
    return load_profile_tree({**values, "telemetry": list(scrapes)}, str(tmp_path / "p.yaml"))


def test_scraped_metrics_have_the_name_of_their_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t0p")
    page = MetricsPage(PAGE)
    headers = {"Authorization": "env:TOKEN"}
    rows: list[dict[str, Any]] = []
    arrived = threading.Event()

    def receive(batch: pa.RecordBatch) -> None:
        rows.extend(batch.to_pylist())
        if any(row["source"] == "lab/gpu0" for row in rows):
            arrived.set()

    sampler = build_sampler(
        profile(tmp_path, {"scrape": page.url, "name": "lab", "interval": "200ms", "headers": headers})
    )
    sampler.start(receive)
    has_come = arrived.wait(20)
    sampler.close()
    page.close()
    assert has_come, rows
    assert {row["value"] for row in rows if row["source"] == "lab/gpu0" and row["metric"] == "gpu_power_w"} == {250.5}
    assert b"t0p" in page.requests[0]


def test_public_metrics_endpoint_is_rejected_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"93\.184\.216\.34 is a public host") as refused:
        build_sampler(profile(tmp_path, {"scrape": "http://93.184.216.34/metrics"}))
    assert "permitted of scrape1 in telemetry" in (refused.value.hint or "")
