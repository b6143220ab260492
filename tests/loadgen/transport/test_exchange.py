import errno
import socket

import pytest

from loadgen.transport.exchange import classify_connect_error


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"])
def test_what_this_machine_lacks_is_a_local_limit(name: str) -> None:
    assert classify_connect_error(OSError(getattr(errno, name), "text")) == "local-limit"


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(errno.ECONNREFUSED, "no"), OSError("no"), socket.gaierror(-2)]
)
def test_what_the_target_does_is_a_failed_connection(error: OSError) -> None:
    assert classify_connect_error(error) == "connect"
