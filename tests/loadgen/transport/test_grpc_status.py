import grpc
import pytest

from loadgen.transport.grpc_status import SUCCESS, CallEnd, classify_end

PEER = "a peer's message with a canary"


def test_grpc_status_ok_is_success() -> None:
    assert classify_end(grpc.StatusCode.OK, None, False) == SUCCESS == CallEnd(200, None, None)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name not in ("OK", "DEADLINE_EXCEEDED")])
def test_every_error_code_of_server_maps_to_http_error_status(code: grpc.StatusCode) -> None:
    end = classify_end(code, PEER, False)
    assert end.status is not None
    assert 400 <= end.status < 600
    assert (end.error, end.detail) == (None, f"gRPC status {code.name}")


@pytest.mark.parametrize(
    ("code", "message", "has_response", "error"),
    [
        (
            "UNAVAILABLE",
            "failed to connect to all addresses; last error: UNKNOWN: Connection refused",
            False,
            "connect",
        ),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: Too many open files", False, "local-limit"),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: Tls handshake failed (x)", False, "tls"),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: Ssl handshake failed", False, "tls"),
        ("UNAVAILABLE", "Stream removed (Socket closed)", False, "send"),
        ("UNAVAILABLE", "Socket closed", True, "truncated"),
        ("UNAVAILABLE", "recvmsg:Connection reset by peer", True, "truncated"),
        ("DEADLINE_EXCEEDED", PEER, False, "timeout"),
        ("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (9 vs. 1)", False, "bad-payload"),
    ],
)
def test_errors_of_grpc_library_map_to_transport_errors(
    code: str, message: str, has_response: bool, error: str
) -> None:
    end = classify_end(grpc.StatusCode[code], message, has_response)
    assert end.error == error
    assert end.status == (200 if error == "bad-payload" else None)
    assert "canary" not in (end.detail or "")
