"""Result of a connection test, as rows and as a notice. All functions are pure."""

from __future__ import annotations

from math import floor, log10

import msgspec

from app.analysis.objectives import format_objective, parse_objective
from app.gui.engine.launch import parse_reported_failure
from app.gui.formatting import NOT_AVAILABLE, format_count, format_number, shorten, with_unit
from app.gui.navigation import Notice, Severity
from app.records.trial import ConnectionTest, Failure

_MAX_CHARACTERS = 300
_LIMIT_FACTOR = 2.0
"""Suggested limits are this multiple of the time of the test request, which waited for no other
request."""
_MAX_LISTED_MODELS = 5
_ROUND_NUMBERS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


class SloSuggestion(msgspec.Struct, frozen=True):
    """SLO suggested by a connection test. `measured_text` states what the test measured, and
    `objectives` are the default objectives with limits for these values."""

    measured_text: str
    objectives: tuple[str, ...]


def build_result_rows(result: ConnectionTest) -> tuple[tuple[str, str], ...]:
    """Return the rows of a test result, each with a name and a text, most important first."""
    rows = [("Status", NOT_AVAILABLE if result.status is None else str(result.status))]
    if result.first_byte_ms is not None or result.total_ms is not None:
        rows.append(("Time to first byte", _format_ms(result.first_byte_ms)))
        if result.wants_stream:
            rows.append(("Time to first token", _format_ms(result.first_token_ms)))
        rows.append(("Total time", _format_ms(result.total_ms)))
    if result.bytes_received:
        rows.append(("Size", with_unit(format_count(result.bytes_received), "bytes")))
    if result.tokens_out is not None:
        rows.append(("Output tokens", format_count(result.tokens_out)))
    rows.append(("Target", f"{result.url} ({result.protocol})"))
    if result.model is not None:
        rows.append(("Model", result.model))
    if result.tls is not None:
        tls = result.tls
        rows.append(("TLS", f"{tls.version}, {tls.cipher}"))
        rows.append(("Certificate", _format_certificate(result)))
    rows += [(f"Sent: {name}", value) for name, value in result.request_headers]
    rows += [(f"Received: {name}", value) for name, value in result.response_headers]
    rows += [("Note", note) for note in result.notes]
    return tuple((shorten(name, 80), shorten(text, _MAX_CHARACTERS)) for name, text in rows)


def build_result_notice(result: ConnectionTest) -> Notice:
    if result.problem is None:
        return Notice("news", "The connection works, and the response matches the profile.")
    severity: Severity = "warning" if result.is_measurable else "error"
    message = f"{_PROBLEM_TITLES[result.problem]}: {shorten(result.summary, _MAX_CHARACTERS).rstrip('.')}."
    consequence = None if result.is_measurable else "A run would stop before sending load."
    return Notice(severity, message, consequence, result.hint)


def suggest_slo(result: ConnectionTest, default_objectives: list[str]) -> SloSuggestion | None:
    """Suggest limits for the default objectives of the protocol from the times of a test request.
    Return `None` if the request failed or the objectives limit nothing that it measured."""
    if result.problem is not None:
        return None
    measured_ms = {metric: time_ms for metric, (time_ms, _) in _list_measured_times(result).items() if time_ms}
    objectives, measured_metrics = [], []
    for text in default_objectives:
        objective = parse_objective(text)
        time_ms = measured_ms.get(objective.metric)
        if time_ms is None:
            objectives.append(text)
            continue
        measured_metrics.append(objective.metric)
        limit = round_up(_LIMIT_FACTOR * time_ms)
        objectives.append(f"{objective.metric}.{objective.aggregate} {objective.comparator} {limit:g}")
    if not measured_metrics:
        return None
    texts = [_list_measured_times(result)[metric][1] for metric in measured_metrics]
    return SloSuggestion(f"The test request took {' and '.join(texts)}.", tuple(objectives))


def format_suggestion(suggestion: SloSuggestion, *, is_slo_edited: bool) -> str:
    if is_slo_edited:
        return f"{suggestion.measured_text} The SLO that you edited stays as it is."
    labels = ", ".join(map(format_objective, suggestion.objectives))
    return f"{suggestion.measured_text} Suggested SLO, with twice these times, rounded up: {labels}."


def round_up(value: float) -> float:
    """Return the lowest round number, such as 15 or 200, that is not less than a positive value."""
    scale = 10.0 ** floor(log10(value))
    return next(number * scale for number in _ROUND_NUMBERS if number * scale >= value * (1 - 1e-9))


def _list_measured_times(result: ConnectionTest) -> dict[str, tuple[float | None, str]]:
    """Return the times of a test request in ms, by metric, each with its display text."""
    tpot_ms = None
    if result.first_token_ms is not None and result.total_ms is not None and (result.tokens_out or 0) > 1:
        tpot_ms = (result.total_ms - result.first_token_ms) / ((result.tokens_out or 0) - 1)
    times = {
        "ttft_ms": (result.first_token_ms, "to the first token"),
        "tpot_ms": (tpot_ms, "per further token"),
        "latency_ms": (result.total_ms, "in total"),
        "service_ms": (result.total_ms, "in total"),
    }
    return {
        metric: (time_ms, f"{_format_ms(time_ms)} {text}")
        for metric, (time_ms, text) in times.items()
        if time_ms is None or time_ms > 0
    }


def format_served_models(result: ConnectionTest) -> str:
    """Return a sentence about the models that the server lists."""
    name, *other_names = result.served_models
    if not other_names:
        return f"The server lists one model, {name}, which is now the model of the target."
    listed = ", ".join(other_names[:_MAX_LISTED_MODELS])
    more_text = " …" if len(other_names) > _MAX_LISTED_MODELS else ""
    return f"The model of the target is now {name}, the first that the server lists. Others: {listed}{more_text}"


def build_trial_error_notice(exit_code: int, stderr: bytes) -> Notice:
    """Build the notice for a command that ended without a result. The notice contains the reported
    failure, and up to 4,000 characters of the other output as details."""
    failure, other_output = parse_reported_failure(stderr.decode(errors="replace"))
    if failure is None:
        failure = Failure(exit_code, "The connection test ended unexpectedly.")
    return Notice("error", shorten(failure.message, _MAX_CHARACTERS), None, failure.hint, other_output[-4000:] or None)


_PROBLEM_TITLES = {
    "dns": "Host not found",
    "connect": "Connection failed",
    "tls": "TLS failed",
    "unauthorized": "Unauthorized (401)",
    "forbidden": "Forbidden (403)",
    "not found": "Not found (404)",
    "refused": "Request rejected",
    "busy": "Rate limited (429)",
    "server error": "Server error",
    "timeout": "Timeout",
    "truncated": "Incomplete response",
    "wrong response": "Unexpected response",
    "local limit": "Limit of this machine",
    "not streaming": "Not streaming",
}  # one entry per problem, with the text that is shown


def _format_certificate(result: ConnectionTest) -> str:
    tls = result.tls
    if tls is None or tls.issuer is None:
        return "not verified"
    return f"{tls.subject or NOT_AVAILABLE}, issued by {tls.issuer}, valid until {tls.valid_until or NOT_AVAILABLE}"


def _format_ms(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else with_unit(format_number(value), "ms")
