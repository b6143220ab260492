"""Create the HTTP transport for an endpoint."""

from __future__ import annotations

import asyncio
import os
import socket

from loadgen.records import Endpoint
from loadgen.transport.address import Address, UrlError, parse_url
from loadgen.transport.balance import BalancedPools
from loadgen.transport.exchange import Transport
from loadgen.transport.pool import ConnectionPool
from loadgen.transport.responses import ReceivedBytes

_MAX_SOCKET_PATH_BYTES = 103
"""Maximum length in bytes of a path to a Unix socket that every OS supports. Linux alone would
allow 107 bytes."""


def create_http_transport(
    loop: asyncio.AbstractEventLoop, endpoint: Endpoint, new_pool: type[ConnectionPool] = ConnectionPool
) -> Transport:
    """Create an HTTP/1.1 transport for an endpoint. Raises EndpointError if the endpoint's settings
    are invalid.

    Requests must be built for the first URL of the endpoint. `max_connections` is divided evenly
    among the replicas.
    """
    addresses = _parse_addresses(endpoint)
    if len(addresses) == 1:
        return new_pool(loop, addresses[0], endpoint)
    max_connections = max(1, endpoint.max_connections // len(addresses))
    received_bytes = ReceivedBytes()
    pools: list[ConnectionPool] = []
    try:
        for address in addresses:
            pools.append(  # noqa: PERF401  earlier pools must be closed if a later pool cannot be created
                new_pool(
                    loop,
                    address,
                    endpoint,
                    max_connections=max_connections,
                    request_address=addresses[0],
                    received_bytes=received_bytes,
                )
            )
    except ValueError:
        for pool in pools:
            pool.close()
        raise
    return BalancedPools(pools, endpoint.balance)


def _parse_addresses(endpoint: Endpoint) -> list[Address]:
    if not endpoint.urls:
        raise UrlError("the target has no URL")
    addresses = [parse_url(url) for url in endpoint.urls]
    if len({address.path for address in addresses}) > 1:
        raise UrlError("the URLs of a target must have the same path, because they are replicas")
    if endpoint.unix_socket is not None:
        if not hasattr(socket, "AF_UNIX"):
            raise UrlError("this operating system does not support Unix sockets")
        if len(addresses) > 1:
            raise UrlError("a target with a Unix socket must have exactly one URL")
        if not 0 < len(os.fsencode(endpoint.unix_socket)) <= _MAX_SOCKET_PATH_BYTES or "\0" in endpoint.unix_socket:
            raise UrlError(f"the path of the Unix socket must have 1 to {_MAX_SOCKET_PATH_BYTES} bytes")
    return addresses
