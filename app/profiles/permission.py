"""Determine which addresses may be load-tested without explicit permission."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from loadgen.machine import never_leaves_machine

_PRIVATE_NETWORKS = tuple(
    ip_network(network)
    for network in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "0.0.0.0/32",
        "::1/128", "fc00::/7", "fe80::/10", "::/128",
    )
)  # fmt: skip


def needs_permission(addresses: Iterable[str]) -> bool:
    """Return whether any of the resolved addresses of a target is neither loopback, private nor
    link-local."""
    return any(not _is_private(_parse_address(address)) for address in addresses)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address refers to this machine by convention. Host names are not
    resolved."""
    name = host.casefold().rstrip(".")
    return name == "localhost" or name.endswith(".localhost") or never_leaves_machine(host)


def is_this_machine(addresses: Iterable[str]) -> bool:
    """Return whether all resolved addresses of a target are loopback addresses."""
    loopback_flags = [address.is_loopback or address.is_unspecified for address in map(_parse_address, addresses)]
    return bool(loopback_flags) and all(loopback_flags)


def _parse_address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    ipv4_address = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return ipv4_address or address


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _PRIVATE_NETWORKS if network.version == address.version)
