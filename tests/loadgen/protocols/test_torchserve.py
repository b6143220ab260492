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


def test_a_prediction_for_each_body() -> None:
    workload = TorchServeWorkload("a/b", version="2.0", bodies=(b"[1]", b"[2]"), popularity=Popularity("uniform"))
    built = build_torchserve(workload, ENDPOINT, ADDRESS)
    assert built.requests[1].startswith(b"POST /base/predictions/a%2Fb/2.0 HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in built.requests[1]
    assert built.requests[1].endswith(b"\r\n\r\n[2]")
    assert built.label == "POST http://h:8080/base/predictions/a%2Fb/2.0"
    assert set(built.request_indices or ()) == {0, 1}


def test_a_folders_files_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8")
    built = build_torchserve(TorchServeWorkload("m", dataset=Dataset(str(tmp_path), "folder")), ENDPOINT, ADDRESS)
    assert b"POST /base/predictions/m HTTP/1.1\r\n" in built.requests[0]
    assert b"\r\nContent-Type: image/jpeg\r\n" in built.requests[0]
    assert built.requests[0].endswith(b"\r\n\r\n\xff\xd8")


def test_rows_as_objects(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_text("x\n1.5\n")
    built = build_torchserve(TorchServeWorkload("m", dataset=Dataset(str(file), "csv")), ENDPOINT, ADDRESS)
    assert built.requests[0].endswith(b'{"x":1.5}')


@pytest.mark.parametrize("dataset", [None, Dataset("/nowhere/at/all.csv", "csv")])
def test_nothing_to_predict_from_is_reported(dataset: Dataset | None) -> None:
    with pytest.raises(WorkloadError):
        build_torchserve(TorchServeWorkload("m", dataset=dataset), ENDPOINT, ADDRESS)


def responded(
    body: bytes, status: int | None = 200, headers: Headers | None = None, error: str | None = None
) -> Exchange:
    return Exchange(0, 0, 0, b"", lambda _: None, status=status, body=body, headers=headers or [], error=error)


def identified(prediction: Exchange, pong: Exchange | None) -> tuple[ResponseCheck, list[bytes]]:
    """Of a preflight's response, where `GET /ping` gets that one."""
    asked: list[bytes] = []

    async def ask(request: bytes) -> Exchange:
        asked.append(request)
        assert pong is not None
        return pong

    endpoint = Endpoint((URL,), headers=(("Authorization", "Bearer x"),))
    identify = build_torchserve(TorchServeWorkload("m", bodies=(b"[1]",)), endpoint, ADDRESS).identify_server
    assert identify is not None

    async def judge() -> ResponseCheck:
        return await identify(prediction, ask)

    return asyncio.run(judge()), asked


HTML = [(b"Content-Type", b"text/html; charset=utf-8")]


def test_torchserve_identifies_itself_by_its_headers_without_another_request() -> None:
    headers = [(b"Cache-Control", b"no-cache; no-store, must-revalidate, private")]
    assert identified(responded(b"5", headers=headers), None) == (RESPONSE_OK, [])


@pytest.mark.parametrize("health", [b'{\n  "status": "Healthy"\n}\n', b'{"health": "healthy!"}'])
def test_torchserve_behind_a_proxy_that_drops_headers_identifies_itself_by_its_health(health: bytes) -> None:
    judgement, (ping,) = identified(responded(b"5"), responded(health))
    assert judgement == RESPONSE_OK
    assert ping.startswith(b"GET /base/ping HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer x\r\n" in ping


@pytest.mark.parametrize(
    ("prediction", "pong"),
    [
        (responded(b"hello"), responded(b"hello")),
        (responded(b'{"status": "ok"}'), responded(b'{"status": "ok"}')),
        (responded(b"<p>10:01", headers=HTML), responded(b"<p>10:02", headers=HTML)),
    ],
    ids=["a server with one response", "that one looks like a health", "web pages"],
)
def test_a_server_that_takes_ping_for_a_prediction_is_refused(prediction: Exchange, pong: Exchange) -> None:
    judgement, _ = identified(prediction, pong)
    assert judgement.error == "bad-payload"
    assert "not TorchServe" in str(prediction.detail)


@pytest.mark.parametrize(
    "pong",
    [
        responded(b"", 404),
        responded(b"not here", 403),
        responded(b"", None, error="timeout"),
        responded(b"<html>gateway", headers=HTML),
        responded(b"pong"),
        responded(b"\xff{"),
        responded(b'["status"]'),
    ],
)
def test_where_a_proxy_answers_ping_the_predictions_are_measured_with_a_note(pong: Exchange) -> None:
    judgement, _ = identified(responded(b"5"), pong)
    assert judgement.error is None
    assert "did not identify itself" in str(judgement.note)
