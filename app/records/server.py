"""Server of a measured target, as far as its profile describes it: what is needed to deploy it."""

from __future__ import annotations

import msgspec

from app.records.estimate import Count


class MeasuredServer(msgspec.Struct, frozen=True):
    """Name, port and health check paths of the server that was measured. Unknown values are None.

    `name` is the profile's name. A health check is an HTTP GET request that returns a 2xx status.
    """

    name: str
    port: Count | None = None
    """Port in the measured URL."""
    ready_path: str | None = None
    """Path that reports whether the server can serve requests."""
    ready_port: Count | None = None
    """Port of `ready_path`; None if it is the port that serves the requests."""
    live_path: str | None = None
    """Path that reports whether the server has to be restarted."""
