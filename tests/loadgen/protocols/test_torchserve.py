import asyncio
from pathlib import Path

import pytest

from loadgen.protocols.prepared import RESPONSE_OK, ResponseCheck, WorkloadError
from loadgen.protocols.torchserve import build_torchserve
from loadgen.records import Endpoint
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange, Headers
from loadgen.workloads import Dataset, Popularity, TorchServeWorkload

URL = "http://h:8080/base/?q=1"
ADDRESS = parse_url(URL)
ENDPOINT = Endpoint((URL,))


def test_each_body_becomes_prediction_request() -> None:
    workload = TorchServeWorkload("a/b", version="2.0", bodies=(b"[1]", b"[2]"), popularity=Popularity("uniform"))
    prepared = build_torchserve(workload, ENDPOINT, ADDRESS)
    assert prepared.requests[1].startswith(b"POST /base/predictions/a%2Fb/2.0 HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in prepared.requests[1]
    assert prepared.requests[1].endswith(b"\r\n\r\n[2]")
    assert prepared.label == "POST http://h:8080/base/predictions/a%2Fb/2.0"
    assert set(prepared.request_indices or ()) == {0, 1}


def test_files_of_folder_are_sent_unchanged(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8")
    prepared = build_torchserve(TorchServeWorkload("m", dataset=Dataset(str(tmp_path), "folder")), ENDPOINT, ADDRESS)
    assert b"POST /base/predictions/m HTTP/1.1\r\n" in prepared.requests[0]
    assert b"\r\nContent-Type: image/jpeg\r\n" in prepared.requests[0]
    assert prepared.requests[0].endswith(b"\r\n\r\n\xff\xd8")


def test_dataset_rows_are_sent_as_json_objects(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_text("x\n1.5\n")
    prepared = build_torchserve(TorchServeWorkload("m", dataset=Dataset(str(file), "csv")), ENDPOINT, ADDRESS)
    assert prepared.requests[0].endswith(b'{"x":1.5}')


@pytest.mark.parametrize("dataset", [None, Dataset("/nowhere/at/all.csv", "csv")])
def test_missing_input_data_is_workload_error(dataset: Dataset | None) -> None:
    with pytest.raises(WorkloadError):
        build_torchserve(TorchServeWorkload("m", dataset=dataset), ENDPOINT, ADDRESS)


def make_exchange(
    body: bytes, status: int | None = 200, headers: Headers | None = None, error: str | None = None
) -> Exchange:
    return Exchange(0, 0, 0, b"", lambda _: None, status=status, body=body, headers=headers or [], error=error)


def run_identification(prediction: Exchange, pong: Exchange | None) -> tuple[ResponseCheck, list[bytes]]:
    """Check a preflight response of a server that answers `GET /ping` with `pong`; return the requests sent, too."""
    requests: list[bytes] = []

    async def send(request: bytes) -> Exchange:
        requests.append(request)
        assert pong is not None
        return pong

    endpoint = Endpoint((URL,), headers=(("Authorization", "Bearer x"),))
    identify = build_torchserve(TorchServeWorkload("m", bodies=(b"[1]",)), endpoint, ADDRESS).identify_server
    assert identify is not None

    async def check() -> ResponseCheck:
        return await identify(prediction, send)

    return asyncio.run(check()), requests


HTML = [(b"Content-Type", b"text/html; charset=utf-8")]


def test_torchserve_is_identified_by_headers_without_further_request() -> None:
    headers = [(b"Cache-Control", b"no-cache; no-store, must-revalidate, private")]
    assert run_identification(make_exchange(b"5", headers=headers), None) == (RESPONSE_OK, [])


@pytest.mark.parametrize("health", [b'{\n  "status": "Healthy"\n}\n', b'{"health": "healthy!"}'])
def test_torchserve_without_headers_is_identified_by_health_response(health: bytes) -> None:
    response_check, (ping,) = run_identification(make_exchange(b"5"), make_exchange(health))
    assert response_check == RESPONSE_OK
    assert ping.startswith(b"GET /base/ping HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer x\r\n" in ping


@pytest.mark.parametrize(
    ("prediction", "pong"),
    [
        (make_exchange(b"hello"), make_exchange(b"hello")),
        (make_exchange(b'{"status": "ok"}'), make_exchange(b'{"status": "ok"}')),
        (make_exchange(b"<p>10:01", headers=HTML), make_exchange(b"<p>10:02", headers=HTML)),
    ],
    ids=["a server with one response", "one response that looks like a health status", "web pages"],
)
def test_server_that_treats_ping_as_prediction_is_rejected(prediction: Exchange, pong: Exchange) -> None:
    response_check, _ = run_identification(prediction, pong)
    assert response_check.error == "bad-payload"
    assert "not TorchServe" in str(prediction.detail)


@pytest.mark.parametrize(
    "pong",
    [
        make_exchange(b"", 404),
        make_exchange(b"not here", 403),
        make_exchange(b"", None, error="timeout"),
        make_exchange(b"<html>gateway", headers=HTML),
        make_exchange(b"pong"),
        make_exchange(b"\xff{"),
        make_exchange(b'["status"]'),
    ],
)
def test_unidentified_server_is_measured_with_note(pong: Exchange) -> None:
    response_check, _ = run_identification(make_exchange(b"5"), pong)
    assert response_check.error is None
    assert "did not identify itself" in str(response_check.note)
