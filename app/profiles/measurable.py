"""Which objectives of a profile can never be judged, so that they are refused before the load and not after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.analysis.spans import SPANS
from app.profiles.local import LocalProfile
from app.profiles.problems import BadValueError
from app.records.metrics import METRICS
from app.records.result import Objective

if TYPE_CHECKING:
    from app.profiles.profile import EndpointProfile, Profile

_OF_STREAMS = ("ttft_ms", "ttft_service_ms", "ttfo_ms", "icl_ms", "itl_ms", "tpot_ms", "coalesced_share")
_OF_TOKENS = ("output_tokens", "output_tokens_per_s")
_OF_INTENDED_TIMES = ("latency_ms", "first_byte_ms", "send_lag_ms")
_RATES = ("offered_per_s", "achieved_per_s", "completed_per_s", "good_per_s", "output_tokens_per_s")
_OF_LIMITS = ("goodput_share", "good_per_s")
_READ_BESIDE = (
    *(name for name in METRICS if name.startswith(("host_", "endpoint_", "generator_", "engine_", "gpu_"))),
    "throughput_per_s",
    "library_load_ms",
    "session_build_ms",
    "first_inference_ms",
)
"""Not known when a stage ends, or of a local model: nothing to judge a rate by."""
_OF_LOCAL_RUNS = (
    "service_ms",
    "latency_ms",
    "send_lag_ms",
    "throughput_per_s",
    "prepare_ms",
    "copy_in_ms",
    "execute_ms",
    "copy_out_ms",
    "post_process_ms",
    "process_start_ms",
    "library_load_ms",
    "session_build_ms",
    "first_inference_ms",
    "accuracy",
    "accuracy_kept",
)
_GENERATING = ("openai-chat", "openai-completions", "openai-responses")


def wrong_objective(profile: Profile) -> tuple[tuple[str, int], BadValueError] | None:
    """The first objective on what is never measured or cannot decide: where it stands, and what is wrong with it."""
    for key, objectives in (("slo", profile.slo), ("gates", profile.gates)):
        for at, objective in enumerate(objectives):
            why = _why_wrong(profile, objective, key)
            if why is not None:
                message, hint = why
                return (key, at), BadValueError(f"{key}[{at}]: {message}", hint=hint)
    return None


def _why_wrong(profile: Profile, objective: Objective, key: str) -> tuple[str, str] | None:
    if isinstance(profile, LocalProfile):
        return _why_never_locally(profile, objective) or _why_impossible(objective)
    why = _why_never(profile, objective) or _why_impossible(objective) or _why_no_goodput(profile, objective)
    if why is None and key == "slo" and objective.level == "fail":
        return _why_no_slo(profile, objective)
    return why


def _why_no_slo(profile: EndpointProfile, objective: Objective) -> tuple[str, str] | None:
    """What cannot decide whether a rate holds, where rates are searched or swept."""
    if profile.load.search is None and profile.load.sweep is None:
        return None
    metric = objective.metric
    if metric in _RATES and objective.comparator in (">", ">="):
        return f"{metric} is low at every low rate, so no rate can be searched by it", "Make it a gate."
    if metric in _READ_BESIDE:
        return f"{metric} is not of requests, which are what holds or fails at a rate", "Make it a gate."
    wrong_way = {"lower": (">", ">="), "higher": ("<", "<="), "neither": ()}[METRICS[metric].better]
    if objective.comparator in wrong_way:
        better = METRICS[metric].better
        hint = f"Turn the sign: {metric} is better the {better} it is."
        return f'"{objective.text}" would hold at the worst, so no rate can be searched by it', hint
    return None


def _why_impossible(objective: Objective) -> tuple[str, str] | None:
    """No time, rate or share is below zero, and no share above all."""
    metric, sign, limit = METRICS[objective.metric], objective.comparator, objective.limit
    is_never = (sign == "<" and limit <= 0) or (sign == "<=" and limit < 0)
    if is_never:
        return f'"{objective.text}" can never be met: {metric.name} is never below 0', "Give a limit above 0."
    if metric.unit == "share" and sign == ">" and limit >= 1:
        return f'"{objective.text}" can never be met: {metric.name} is at most 100%', "Write >= 100%, or a lower limit."
    return None


def _why_no_goodput(profile: EndpointProfile, objective: Objective) -> tuple[str, str] | None:
    """Goodput is the share of arrivals answered within the limits that the SLO sets on each of them."""
    if objective.metric not in _OF_LIMITS:
        return None
    if any(one.metric in SPANS and one.comparator in ("<", "<=") for one in profile.slo):
        return None
    hint = 'Add one to slo, such as "latency_ms.p95 < 50 | warn": with "| warn" it counts for the goodput alone.'
    return f"{objective.metric} is within the limits of the SLO, and slo sets none on the times of a request", hint


def _why_never_locally(profile: LocalProfile, objective: Objective) -> tuple[str, str] | None:
    metric, scenarios = objective.metric, profile.load.scenarios
    if metric in ("accuracy", "accuracy_kept") and profile.workload.tensors is None:
        return f"{metric} needs labelled rows", "Give them in workload.tensors."
    if metric in ("latency_ms", "send_lag_ms") and not {"server", "multi-stream"} & set(scenarios):
        return f"{metric} is of calls that are due at a time, in server or multi-stream", "Use service_ms."
    if metric.startswith("copy_") and not _binds(profile):
        return f"{metric} is not timed apart without io_binding", "Use service_ms, which has the copies in it."
    if metric not in _OF_LOCAL_RUNS and not metric.startswith(("gpu_", "host_", "model_", "energy_")):
        return f"{metric} is of endpoints", f"Of a local model there are {', '.join(_OF_LOCAL_RUNS)}."
    return None


def _binds(profile: LocalProfile) -> bool:
    """Whether a variant has its copies timed apart."""
    wanted = profile.target.runtime.io_binding
    return any(
        one.provider in ("cuda", "tensorrt") if wanted is None else wanted for one in profile.target.all_variants
    )


def _why_never(profile: EndpointProfile, objective: Objective) -> tuple[str, str] | None:
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
