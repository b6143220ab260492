import errno
import socket

import pytest

from loadgen.transport.exchange import classify_connect_error


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"])
def test_local_resource_errors_are_classified_as_local_limit(name: str) -> None:
    assert classify_connect_error(OSError(getattr(errno, name), "text")) == "local-limit"


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(errno.ECONNREFUSED, "no"), OSError("no"), socket.gaierror(-2)]
)
def test_connection_errors_of_target_are_classified_as_connect(error: OSError) -> None:
    assert classify_connect_error(error) == "connect"
