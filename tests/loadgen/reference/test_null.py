import http.client
import subprocess

import pytest

from loadgen.child import start_module

pytestmark = pytest.mark.process


def test_null_server_sends_same_reply_to_every_request_until_stdin_closes() -> None:
    with start_module("loadgen.reference.null", stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(child.stdout.readline()))
        for method, body in (("GET", None), ("POST", b"x" * 100_000)):
            connection.request(method, "/", body)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"{}")
        connection.close()
        child.stdin.close()
        assert child.wait(30) == 0
