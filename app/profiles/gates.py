"""Check the objectives and gates of a profile before any load is sent.

The module finds objectives and gates that can never be met, can never fail or cannot be evaluated.
It checks metrics, tags, metrics of the whole run, and changes against a baseline.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from app.analysis.objectives import CLASS_METRICS, get_unit, select_stage_tags
from app.analysis.spans import LIMIT_METRICS
from app.profiles.endpoint import GRPC_PROTOCOLS
from app.profiles.local import LocalProfile
from app.profiles.problems import BadValueError, did_you_mean
from app.profiles.prompts import SpeechRequests
from app.profiles.units import format_duration
from app.records.metrics import METRICS, RUN_METRICS, Trait, find_metrics
from app.records.result import CLASS_TAG, SWEEP_TAG, Objective
from app.records.stage_kinds import STAGE_KINDS

if TYPE_CHECKING:
    from app.profiles.profile import EndpointProfile, Profile


_LLM_PROTOCOLS = ("openai-chat", "openai-completions", "openai-responses", "anthropic-messages")
_MEDIA_PROTOCOLS: dict[Trait, tuple[str, ...]] = {
    "speech": ("openai-speech", "openai-realtime"),
    "audio": ("openai-speech", "openai-transcriptions", "openai-realtime"),
    "dialog": ("openai-realtime",),
    "images": ("openai-images",),
}
"""Protocols with the metrics of audio and images, by the trait of the metrics."""
_TIMED_AUDIO_FORMATS = ("pcm", "wav")
_POSSIBLY_NEGATIVE_METRICS = (
    "scrape_clock_offset_s",
    "energy_above_idle_j_per_inference",
    "energy_above_idle_j_per_output_token",
)
_LOWER_LIMIT_COMPARATORS = (">", ">=")


def find_gate_problem(profile: Profile, gate: Objective) -> tuple[str, str] | None:
    """Return the problem with a gate and a hint on how to fix the gate; `None` if the gate is
    valid."""
    if gate.metric in RUN_METRICS:
        problem = _check_run_metric(profile, gate)
        if problem is not None:
            return problem
    return _check_class(profile, gate) or _check_tags(profile, gate) or _check_can_fail(gate)


def _check_run_metric(profile: Profile, gate: Objective) -> tuple[str, str] | None:
    if isinstance(profile, LocalProfile):
        return f"{gate.metric} is a metric of endpoints", "Serve the model with protocol oip, or use throughput_per_s."
    load = profile.load
    has_rates = load.search is not None or bool(load.sweep and load.sweep.swept_rates_per_s)
    has_rates = has_rates or any(STAGE_KINDS[stage.kind].has_configured_rate for stage in load.stages)
    if not has_rates or not any(objective.level == "fail" for objective in profile.complete_slo):
        hint = "Add load.search, and an objective to slo."
        return f"{gate.metric} needs a search for the max rate within SLO, and the profile has none", hint
    if RUN_METRICS[gate.metric].unit == "USD" and profile.traffic is None:
        return (
            f"{gate.metric} is a metric of the planned fleet, but without traffic, no fleet is planned",
            "Add traffic.",
        )
    if gate.metric == "usd_per_1m_tokens" and profile.target.protocol not in _LLM_PROTOCOLS:
        return (
            f"{gate.metric} is available only with protocol {', '.join(_LLM_PROTOCOLS)}",
            "Use usd_per_1k_inferences.",
        )
    return None


def _check_can_fail(gate: Objective) -> tuple[str, str] | None:
    """Return the problem with a gate that every possible value meets, and a hint; `None` if the
    gate can fail.

    Latencies, rates and shares are never below 0, shares are never above 1, and no value decreases
    by more than 100 %.
    """
    if gate.metric in _POSSIBLY_NEGATIVE_METRICS and not gate.is_change:
        return None
    minimum = -1.0 if gate.is_change else 0.0
    is_met_by_every_value = gate.comparator in _LOWER_LIMIT_COMPARATORS and (
        gate.limit < minimum or (gate.limit == minimum and gate.comparator == ">=")
    )
    is_share = get_unit(gate) == "share" and not gate.of and not gate.is_change
    is_met_by_every_share = is_share and gate.comparator == "<=" and gate.limit >= 1
    if not is_met_by_every_value and not is_met_by_every_share:
        return None
    return f'"{gate.text}" can never fail', "Set a limit that a bad run exceeds."


def _check_tags(profile: Profile, gate: Objective) -> tuple[str, str] | None:
    """Return the problem with the gate's tags and a hint; `None` if every tag and its value occur
    in the stages of the profile."""
    values_by_tag = _list_variant_tags(profile) if isinstance(profile, LocalProfile) else _list_stage_tags(profile)
    for tag, value in select_stage_tags(gate).items():
        if tag not in values_by_tag:
            hint = did_you_mean(tag, values_by_tag) or f"Use one of these tags: {', '.join(values_by_tag)}."
            return f'no stage has a tag "{tag}"', hint
        if value not in values_by_tag[tag]:
            values_hint = (
                f"Use one of these values: {', '.join(values_by_tag[tag])}."
                if values_by_tag[tag]
                else "Remove the tag, because the search names its own stages."
            )
            return f"no stage has {tag}={value}", did_you_mean(value, values_by_tag[tag]) or values_hint
    return None


def _list_stage_tags(profile: EndpointProfile) -> dict[str, tuple[str, ...]]:
    load = profile.load
    names = tuple(stage.name for stage in load.stages)
    if load.sweep is None:
        return {"stage": names}
    return {"stage": (*names, *load.sweep.stage_names), SWEEP_TAG: ("yes",)}


def _list_variant_tags(profile: LocalProfile) -> dict[str, tuple[str, ...]]:
    variants = profile.target.all_variants
    tag_names = ("provider", "precision", "batch", "streams", "threads")
    values_by_tag = {tag: tuple(dict.fromkeys(str(getattr(variant, tag)) for variant in variants)) for tag in tag_names}
    return {"scenario": tuple(profile.load.scenarios), **values_by_tag}


def find_objective_problem(profile: Profile) -> tuple[tuple[int | str, ...], BadValueError] | None:
    """Find the first objective or gate that is invalid: it cannot be evaluated, can never be met,
    or can never fail.

    Return its path in the profile and the problem; `None` if all objectives and gates are valid.
    """
    for class_index, request_class in enumerate(() if isinstance(profile, LocalProfile) else profile.classes):
        for index, objective in enumerate(request_class.slo):
            class_problem = _find_class_problem(profile, objective, request_class.name)
            if class_problem is not None:
                message, hint = class_problem
                path = ("workload", "classes", class_index, "slo", index)
                return path, BadValueError(f"workload.classes[{class_index}].slo[{index}]: {message}", hint=hint)
    for key, objectives in (("slo", profile.slo), ("gates", profile.gates)):
        for index, objective in enumerate(objectives):
            problem = _find_problem(profile, objective, key)
            if problem is not None:
                message, hint = problem
                return (key, index), BadValueError(f"{key}[{index}]: {message}", hint=hint)
    problem = None if isinstance(profile, LocalProfile) else _check_abort_rule(profile)
    if problem is not None:
        message, hint = problem
        return ("options", "abort_when"), BadValueError(f"options.abort_when: {message}", hint=hint)
    return None


def _check_abort_rule(profile: EndpointProfile) -> tuple[str, str] | None:
    rule = profile.options.abort_when
    if rule is None:
        return None
    if profile.target.protocol == "locust" and rule.objective.metric != "error_rate":
        return f"{rule.objective.metric} is not available while a Locust test runs", "Use error_rate."
    load = profile.load
    durations_s = [stage.max_duration_s or None for stage in load.stages]
    durations_s += [
        load_settings.step_duration_s for load_settings in (load.sweep, load.search) if load_settings is not None
    ]
    max_duration_s = max((math.inf if duration_s is None else duration_s for duration_s in durations_s), default=0.0)
    if rule.after_s >= max_duration_s:
        after_text = format_duration(rule.after_s)
        message = (
            f'"{rule.text}" never applies: no stage is longer than {after_text}, which counts from the start of each '
            "stage"
        )
        return message, f'Set the "after" delay of the rule to less than {format_duration(max_duration_s)}.'
    return _check_can_be_met(rule.objective)


def _find_class_problem(profile: Profile, objective: Objective, name: str) -> tuple[str, str] | None:
    """Return the problem with an objective in the SLO of a class, and a hint; `None` if the objective
    is valid."""
    if objective.request_class is not None:
        return f'"{objective.text}" names a class, but already belongs to one', "Remove the braces, or write it in slo."
    return _find_problem(profile, replace(objective, tags={CLASS_TAG: name}), "slo")


def _check_class(profile: Profile, objective: Objective) -> tuple[str, str] | None:
    """Return the problem with the class of an objective or gate, and a hint; `None` if there is
    none."""
    name = objective.request_class
    if name is None:
        return None
    class_names = () if isinstance(profile, LocalProfile) else tuple(known.name for known in profile.classes)
    if name not in class_names:
        hint = f"Use one of these classes: {', '.join(class_names)}." if class_names else "Add workload.classes."
        return f"the workload has no class {name!r}", did_you_mean(name, class_names) or hint
    if objective.metric not in CLASS_METRICS:
        return f"{objective.metric} is not measured for each class", "Remove the class, or use a metric of requests."
    if objective.is_change:
        return "changes are compared for all classes together", "Remove the class."
    return None


def _find_problem(profile: Profile, objective: Objective, key: str) -> tuple[str, str] | None:
    if key == "gates":
        return _check_gate_metrics(profile, objective) or find_gate_problem(profile, objective)
    if isinstance(profile, LocalProfile):
        problem = _check_class(profile, objective) or _check_measured_locally(profile, objective)
        return problem or _check_can_be_met(objective)
    problem = _check_class(profile, objective) or _check_measured(profile, objective)
    problem = problem or _check_can_be_met(objective) or _check_goodput(profile, objective)
    if problem is None and key == "slo" and objective.level == "fail":
        return _check_searchable(profile, objective)
    return problem


def _check_gate_metrics(profile: Profile, gate: Objective) -> tuple[str, str] | None:
    """Return the problem with the metric or the limit of a gate and a hint; `None` if there is no
    problem. If the limit is relative to another metric, that metric is checked too."""
    if gate.metric in RUN_METRICS:
        return _check_can_be_met(gate)
    reference_objectives = () if gate.of is None else (replace(gate, metric=gate.of.partition(".")[0]),)
    for objective in (gate, *reference_objectives):
        if isinstance(profile, LocalProfile):
            problem = _check_measured_locally(profile, objective)
        else:
            problem = _check_measured(profile, objective) or _check_goodput(profile, objective)
        if problem is not None:
            return problem
    return _check_can_be_met(gate)


def _check_searchable(profile: EndpointProfile, objective: Objective) -> tuple[str, str] | None:
    """Return why a search or sweep cannot use an objective to decide whether a rate meets the SLO,
    and a hint; `None` if the objective can be used, or if the profile has neither a search nor a
    sweep."""
    if profile.load.search is None and profile.load.sweep is None:
        return None
    metric = objective.metric
    if "rate" in METRICS[metric].traits and objective.comparator in (">", ">="):
        return (
            f"{metric} is low at every low rate, so a search cannot use it to find the max rate",
            "Write it as a gate.",
        )
    if "external" in METRICS[metric].traits:
        return (
            f"{metric} is not measured per request, so a search cannot use it to find the max rate",
            "Write it as a gate.",
        )
    wrong_comparators = {"lower": (">", ">="), "higher": ("<", "<="), "neither": ()}[METRICS[metric].better]
    if objective.comparator in wrong_comparators:
        better = METRICS[metric].better
        hint = f"Reverse the comparison: for {metric}, {better} is better."
        return (
            f'"{objective.text}" would be met by the worst values, so a search cannot use it to find the max rate',
            hint,
        )
    return None


def _check_can_be_met(objective: Objective) -> tuple[str, str] | None:
    """Return the problem with an objective that no possible value can meet, and a hint; `None` if
    the objective can be met.

    Latencies, rates and shares are never below 0, shares are never above 1, and no value decreases
    by more than 100 %.
    """
    metric, comparator, limit = objective.metric, objective.comparator, objective.limit
    minimum = -1 if objective.is_change else 0
    can_never_be_met = (comparator == "<" and limit <= minimum) or (comparator == "<=" and limit < minimum)
    if can_never_be_met and objective.is_change:
        return f'"{objective.text}" can never be met: nothing decreases by more than 100%', "Set a limit above -100%."
    if can_never_be_met:
        return f'"{objective.text}" can never be met: {metric} is never below 0', "Set a limit above 0."
    is_absolute = objective.of is None and not objective.is_change
    if is_absolute and get_unit(objective) == "ms" and comparator == "<=" and limit == 0:
        return f'"{objective.text}" can never be met: {metric} is always above 0', "Set a limit above 0."
    if is_absolute and get_unit(objective) == "share" and comparator == ">" and limit >= 1:
        return f'"{objective.text}" can never be met: {metric} is at most 100%', "Write >= 100%, or a lower limit."
    return None


def _check_goodput(profile: EndpointProfile, objective: Objective) -> tuple[str, str] | None:
    """Return the problem with a goodput objective and a hint if the SLO has no latency limit for
    individual requests; `None` for any other objective.

    Goodput is the share of scheduled requests whose response meets all latency limits of the SLO.
    """
    if "goodput" not in METRICS[objective.metric].traits:
        return None
    if any(
        slo_objective.metric in LIMIT_METRICS and slo_objective.comparator in ("<", "<=")
        for slo_objective in profile.complete_slo
        if objective.request_class is None or slo_objective.request_class in (None, objective.request_class)
    ):
        return None
    hint = 'Add one to slo, such as "latency_ms.p95 < 50 | warn"; with "| warn" it only counts toward the goodput.'
    return f"{objective.metric} needs a latency limit in slo, and there is none", hint


def _check_measured_locally(profile: LocalProfile, objective: Objective) -> tuple[str, str] | None:
    metric, scenarios = objective.metric, profile.load.scenarios
    if metric in ("perplexity", "perplexity_ratio", "token_agreement", "kl_mean") and profile.workload.text is None:
        return f"{metric} needs a text", "Set workload.text to a text file."
    if metric == "throughput_per_s" and profile.generation_tests:
        return "throughput_per_s is not a metric of language models", "Use decode_tokens_per_s or prefill_tokens_per_s."
    if metric in ("accuracy", "accuracy_retained") and profile.workload.tensors is None:
        return f"{metric} needs labeled rows", "Set them in workload.tensors."
    if metric in ("latency_ms", "send_lag_ms") and not {"server", "multi-stream"} & set(scenarios):
        return f"{metric} needs calls with a scheduled start: the server or multi-stream scenario", "Use service_ms."
    if metric.startswith("copy_") and not _uses_io_binding(profile):
        return f"{metric} is not measured separately without io_binding", "Use service_ms, which includes the copies."
    traits = {"local", "device", "generation"} if profile.generation_tests else {"local", "device"}
    if not traits & set(METRICS[metric].traits):
        return (
            f"{metric} is a metric of endpoints",
            f"Use a metric of local models: {', '.join(find_metrics('local'))}.",
        )
    return None


def _uses_io_binding(profile: LocalProfile) -> bool:
    """Return whether any variant uses I/O binding. Copies between host and device are timed
    separately only with I/O binding."""
    io_binding = profile.target.runtime.io_binding
    return any(
        variant.provider in ("cuda", "tensorrt") if io_binding is None else io_binding
        for variant in profile.target.all_variants
    )


def _check_measured(profile: EndpointProfile, objective: Objective) -> tuple[str, str] | None:
    protocol, metric = profile.target.protocol, objective.metric
    traits = METRICS[metric].traits
    if protocol == "locust" and "scheduled" in traits:
        return f"{metric} is measured from the scheduled start, which Locust does not report", "Use service_ms."
    if protocol in GRPC_PROTOCOLS and metric == "first_byte_ms":
        return "gRPC does not report the first byte", "Use latency_ms."
    if "stream" in traits and not getattr(profile.workload, "stream", False):
        return f"{metric} needs streamed responses, but streaming is not requested", "Use latency_ms."
    if "messages" in traits and protocol != "grpc":
        return f"{metric} is available only with protocol grpc", "Use latency_ms, or ttft_ms for generated text."
    if {"stream", "tokens"} & set(traits) and protocol not in (*_LLM_PROTOCOLS, "openai-batch"):
        return (
            f"{metric} is available only with protocol {', '.join(_LLM_PROTOCOLS)}",
            "Use latency_ms, or a rate such as completed_per_s.",
        )
    if metric == "accuracy" and getattr(profile.workload, "labels", None) is None:
        return "accuracy needs labels", "Name their array in workload.labels, with protocol oip or oip-grpc."
    for trait, protocols in _MEDIA_PROTOCOLS.items():
        if trait in traits and protocol not in protocols:
            return f"{metric} is available only with protocol {', '.join(protocols)}", "Use latency_ms."
    if (
        "audio" in traits
        and isinstance(profile.workload, SpeechRequests)
        and profile.workload.format not in _TIMED_AUDIO_FORMATS
    ):
        message = f"{metric} needs the duration of the audio, which is unknown for {profile.workload.format}"
        return message, f"Set workload.format to {' or '.join(_TIMED_AUDIO_FORMATS)}."
    return None
