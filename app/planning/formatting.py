"""Formatting of numbers and service models in the text of a plan."""

from __future__ import annotations

import math

from app.planning.service_models.service_times import compute_total_cv, is_two_phase
from app.records.service import BatchService, RequestService, ServiceModel


def format_number(number: float) -> str:
    """Format a number with three significant digits, or as an integer from 100 upwards. The text
    never contains an exponent."""
    if abs(number) >= 100 or number == 0:
        return f"{number:,.0f}"
    decimals = max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_usd(number: float) -> str:
    return f"{'-' if number < 0 else ''}${format_number(abs(number))}"


def format_share(number: float) -> str:
    """Format a share as a percentage. Shares just below 1 become "over 99.9 %", so that they are
    not rounded to 100 %."""
    return "over 99.9 %" if 0.9995 <= number < 1 else f"{number * 100:.1f}".removesuffix(".0") + " %"


def format_probability(number: float) -> str:
    """Format a probability as a percentage, never as 0 % or 100 %, because it is the share of a
    finite number of simulated cases."""
    return "under 0.1 %" if number < 0.0005 else "over 99.9 %" if number >= 0.9995 else format_share(number)


def format_service_model(service: ServiceModel) -> str:
    """Describe a service model, such as
    `1 request at a time, 2.1 ms each, CV 0.5, and 2.9 ms overhead`."""
    overhead_text = f"{format_number(1000 * service.outside_s)} ms overhead"
    match service:
        case RequestService():
            requests_text = "1 request" if service.slots == 1 else f"{service.slots} requests"
            service_text = (
                f"{requests_text} at a time, {format_number(1000 * service.mean_s)} ms each, CV "
                f"{compute_total_cv(service):.2g}"
            )
            if service.is_shared:
                cores_text = "1 core" if service.slots == 1 else f"{service.slots} cores"
                request_text = (
                    f"{format_number(1000 * service.mean_s)} ms each without contention, CV "
                    f"{compute_total_cv(service):.2g}"
                )
                service_text = f"processor sharing on {cores_text}, {request_text}"
            if is_two_phase(service):
                share_text = f"{100 * service.slow_share:.2g} %"
                slow_text = f"{share_text} of them take {service.slow_factor:.2g} times as long as the others"
                return f"{service_text}, {slow_text}, and {overhead_text}"
            return f"{service_text}, and {overhead_text}"
        case BatchService():
            fixed_ms, per_item_ms = format_number(1000 * service.fixed_s), format_number(1000 * service.per_item_s)
            service_text = f"{fixed_ms} ms + {per_item_ms} ms per request"
            window_text = (
                f" after waiting up to {format_number(1000 * service.window_s)} ms" if service.window_s > 0 else ""
            )
            return f"batches of up to {service.max_batch}{window_text}, {service_text}, and {overhead_text}"
        case _:
            step_ms, sequence_ms = format_number(1000 * service.step_s), format_number(1000 * service.per_sequence_s)
            service_text = f"{step_ms} ms + {sequence_ms} ms per sequence"
            return f"steps of {service_text}, up to {service.max_sequences} sequences, and {overhead_text}"
