"""The protocols of targets: the requests of a workload, and the checks of their responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadgen.workloads import (
    HttpWorkload,
    MixedWorkload,
    OpenAiWorkload,
    RealtimeWorkload,
    TorchServeWorkload,
    TranscriptionWorkload,
    Workload,
)

if TYPE_CHECKING:
    from loadgen.protocols.prepared import PreparedWorkload
    from loadgen.records import Endpoint
    from loadgen.transport.address import Address


def build_requests(workload: Workload, endpoint: Endpoint, address: Address) -> PreparedWorkload | None:
    """Build the requests of a workload; `None` if that needs a query to the server, or if no load worker sends
    them. Raises WorkloadError if the requests cannot be built.

    Each protocol is imported only when it is used: importing all protocols takes seconds.
    """
    match workload:
        case HttpWorkload():
            from loadgen.protocols.http import build_http

            return build_http(workload, endpoint, address)
        case OpenAiWorkload():
            from loadgen.protocols.openai import build_openai

            return build_openai(workload, endpoint, address)
        case TranscriptionWorkload():
            from loadgen.protocols.openai_media import build_transcriptions

            return build_transcriptions(workload, endpoint, address)
        case RealtimeWorkload():
            from loadgen.protocols.openai_realtime import build_realtime

            return build_realtime(workload, endpoint, address)
        case TorchServeWorkload():
            from loadgen.protocols.torchserve import build_torchserve

            return build_torchserve(workload, endpoint, address)
        case MixedWorkload():
            from loadgen.protocols.mix import build_mix

            def build_class(class_workload: OpenAiWorkload | HttpWorkload) -> PreparedWorkload:
                requests = build_requests(class_workload, endpoint, address)
                assert requests is not None
                return requests

            return build_mix(workload, build_class)
        case _:
            return None
