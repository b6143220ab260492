"""An unchanged Locust test of a user, run with the rows and verdicts of Sizewise."""

from __future__ import annotations

from pathlib import Path

import pytest

import sizewise as notebook
from loadgen.reference.script import Reply, Script
from loadgen.reference.scripted import ScriptedServer
from tests.fakes.program import SizewiseInProcess

pytestmark = pytest.mark.process

TEST = """
from locust import FastHttpUser, HttpUser, constant, task


class Reader(HttpUser):
    wait_time = constant(0)

    @task(3)
    def read(self):
        self.client.get("/read", name="reading")

    @task
    def fail(self):
        self.client.get("/fail")
"""


@pytest.fixture
def locustfile(tmp_path: Path) -> Path:
    path = tmp_path / "locustfile.py"
    path.write_text(TEST)
    return path


def test_locustfile_runs_unchanged_and_is_measured(
    sizewise_in_process: SizewiseInProcess, locustfile: Path, tmp_path: Path
) -> None:
    script = Script(delay_s=0.02, paths={"/fail": Reply(500)})
    with ScriptedServer(script) as server:
        done = sizewise_in_process(
            "run", "--locustfile", str(locustfile), "--users", "4", "--spawn-rate", "50", "--duration", "2s",
            "--host", server.url, "--out", str(tmp_path / "run"),
        )  # fmt: skip
    assert done.returncode in (0, 4, 10), done.stderr
    result = sizewise_in_process.result(tmp_path / "run")
    stage = result["stages"][-1]
    assert (stage["kind"], stage["concurrency"]) == ("closed", 4)
    assert stage["completed"] > 50
    assert stage["errors"].keys() == {"http-5xx"}
    assert stage["metrics"]["service_ms"]["p50"]["value"] == pytest.approx(20, abs=15)
    assert stage["metrics"]["latency_ms"]["p50"]["value"] is None, "the scheduled start is unknown"
    assert any("Locust's own clients" in note for note in result["notes"])
    rows = notebook.open_run(tmp_path / "run").requests
    assert {"GET reading", "GET /fail"} <= set(rows["name"])
    assert rows["scheduled_ns"].isna().all()


def test_unloadable_locustfile_exits_with_2(sizewise_in_process: SizewiseInProcess, locustfile: Path) -> None:
    locustfile.write_text("import no_such_module_of_mine\n")
    done = sizewise_in_process(
        "run", "--locustfile", str(locustfile), "--host", "http://127.0.0.1:9", "--duration", "1s"
    )
    assert done.returncode == 2, done.stderr
    assert "no_such_module_of_mine" in done.stderr


def test_public_host_in_locustfile_needs_permission(sizewise_in_process: SizewiseInProcess, locustfile: Path) -> None:
    locustfile.write_text(
        TEST.replace("class Reader(HttpUser):", 'class Reader(HttpUser):\n    host = "https://93.184.215.14"')
    )
    done = sizewise_in_process("run", "--locustfile", str(locustfile), "--users", "1", "--duration", "1s")
    assert done.returncode == 2
    assert "93.184.215.14 is a public host" in done.stderr
    assert "target.permitted" in done.stderr
