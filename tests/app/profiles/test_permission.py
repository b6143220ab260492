from __future__ import annotations

import pytest

from app.profiles.permission import is_loopback, is_this_machine, needs_permission
from loadgen.machine import never_leaves_machine


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.9.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.1.1", "0.0.0.0",
     "::1", "fd00::1", "fe80::1", "fe80::1%eth0", "::ffff:10.0.0.1"],
)  # fmt: skip
def test_loopback_and_private_addresses_need_no_permission(address: str) -> None:
    assert not needs_permission([address])


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "100.64.0.1", "2001:db8::1", "::ffff:8.8.8.8", "11.0.0.1"]
)
def test_public_addresses_need_permission(address: str) -> None:
    assert needs_permission([address])


def test_single_public_address_requires_permission() -> None:
    assert needs_permission(["127.0.0.1", "8.8.8.8"])


def test_only_loopback_addresses_are_this_machine() -> None:
    assert is_this_machine(["127.0.0.1", "::1", "::ffff:127.0.0.1"])
    assert not is_this_machine(["127.0.0.1", "10.0.0.1"])
    assert not is_this_machine([])


@pytest.mark.parametrize(
    ("host", "is_certain"),
    [("localhost", True), ("LOCALHOST", True), ("127.0.0.2", True), ("::1", True), ("::ffff:127.0.0.1", True),
     ("evil.localhost", False), ("localhost.", False)],
)  # fmt: skip
def test_host_name_that_dns_may_resolve_may_leave_this_machine(host: str, is_certain: bool) -> None:
    assert is_loopback(host)
    assert never_leaves_machine(host) == is_certain
