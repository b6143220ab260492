"""Which metrics a profile can never have, so that an objective on one is refused before the load and not after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.profiles.problems import BadValueError
from app.records.result import Objective

if TYPE_CHECKING:
    from app.profiles.profile import Profile

_OF_STREAMS = ("ttft_ms", "ttft_service_ms", "ttfo_ms", "icl_ms", "itl_ms", "tpot_ms", "coalesced_share")
_OF_TOKENS = ("output_tokens", "output_tokens_per_s")
_OF_INTENDED_TIMES = ("latency_ms", "first_byte_ms", "send_lag_ms")
_GENERATING = ("openai-chat", "openai-completions", "openai-responses")


def wrong_objective(profile: Profile) -> tuple[tuple[str, int], BadValueError] | None:
    """The first objective on what is never measured: where it stands, and what is wrong with it."""
    for key, objectives in (("slo", profile.slo), ("gates", profile.gates)):
        for at, objective in enumerate(objectives):
            if (why := _why_never(profile, objective)) is not None:
                message, hint = why
                return (key, at), BadValueError(f"{key}[{at}]: {message}", hint=hint)
    return None


def _why_never(profile: Profile, objective: Objective) -> tuple[str, str] | None:
    protocol, metric = profile.target.protocol, objective.metric
    if protocol == "locust" and metric in _OF_INTENDED_TIMES:
        return f"{metric} counts from when a request should have started, which Locust does not tell", "Use service_ms."
    if protocol == "oip-grpc" and metric == "first_byte_ms":
        return "gRPC tells no first byte", "Use latency_ms."
    if metric in _OF_STREAMS and not getattr(profile.workload, "stream", False):
        return f"{metric} is of streamed answers, and none are asked for", "Use latency_ms."
    if metric in (*_OF_STREAMS, *_OF_TOKENS) and protocol not in _GENERATING:
        return f"{metric} is of {', '.join(_GENERATING)}", "Use latency_ms, or a rate such as completed_per_s."
    if metric == "accuracy" and getattr(profile.workload, "labels", None) is None:
        return "accuracy needs the right answers", "Name their array in workload.labels, with protocol oip or oip-grpc."
    return None
