import http.client
import subprocess
from pathlib import Path
from time import perf_counter_ns

import pytest

from loadgen.child import start_module
from loadgen.reference.scripted import Reply, Script, ScriptedServer

pytestmark = pytest.mark.process


def test_replies_are_delayed_and_receipt_times_are_logged() -> None:
    with ScriptedServer(Script(paths={"/gone": Reply(404)}, delay_s=0.05)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        before_ns = perf_counter_ns()
        connection.request("GET", "/gone")
        assert connection.getresponse().status == 404
        after_ns = perf_counter_ns()
        connection.close()
        assert before_ns < server.received_ns[0] < after_ns - 50_000_000


def test_command_writes_log_when_stdin_closes(tmp_path: Path) -> None:
    log = tmp_path / "received.txt"
    options = ["--status", "503", "--mode", "chunked", "--log", str(log)]
    with start_module("loadgen.reference.scripted", *options, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(child.stdout.readline()))
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, response.read()) == (503, b"{}")
        connection.close()
        child.stdin.close()
        assert child.wait(30) == 0
    assert len(log.read_text().split()) == 1
