"""The protocols of targets: the requests of a workload, and the checks of their responses."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from loadgen.workloads import HttpWorkload, MixedWorkload, OpenAiWorkload, Workload

if TYPE_CHECKING:
    from loadgen.protocols.prepared import PreparedWorkload
    from loadgen.records import Endpoint
    from loadgen.transport.address import Address


def build_requests(workload: Workload, endpoint: Endpoint, address: Address) -> PreparedWorkload | None:
    """Build the requests of a workload; `None` if that needs a query to the server, or if no load worker sends
    them. Raises WorkloadError if the requests cannot be built."""
    if isinstance(workload, MixedWorkload):
        from loadgen.protocols.mix import build_mix

        def build_class(class_workload: OpenAiWorkload | HttpWorkload) -> PreparedWorkload:
            requests = build_requests(class_workload, endpoint, address)
            assert requests is not None
            return requests

        return build_mix(workload, build_class)
    if not workload.builder or workload.queries_server:
        return None
    requests: PreparedWorkload = load_builder(workload)(workload, endpoint, address)
    return requests


def load_builder(workload: Workload) -> Callable[..., Any]:
    """Return the function that builds the requests of a workload.

    Each protocol is imported only when it is used: importing all protocols takes seconds.
    """
    module, _, function = workload.builder.rpartition(".")
    builder: Callable[..., Any] = getattr(import_module(f"loadgen.protocols.{module}"), function)
    return builder
