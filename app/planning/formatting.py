"""Formatting of numbers and service models in the text of a plan."""

from __future__ import annotations

import math

from app.planning.service_models.service_times import compute_total_cv, is_two_phase
from app.records.service import BatchService, RequestService, ServiceModel


def format_number(number: float) -> str:
    """Format a number with three significant digits, or as an integer from 100 upwards; never with
    an exponent."""
    if abs(number) >= 100 or number == 0:
        return f"{number:,.0f}"
    decimals = max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_usd(number: float) -> str:
    return f"{'-' if number < 0 else ''}${format_number(abs(number))}"


def format_share(number: float) -> str:
    """Format a share as a percentage; shares just below 1 become "over 99.9 %" instead of being
    rounded up to 100 %."""
    return "over 99.9 %" if 0.9995 <= number < 1 else f"{number * 100:.1f}".removesuffix(".0") + " %"


def format_service_model(service: ServiceModel) -> str:
    """Describe a service model, such as
    `1 request at a time, 2.1 ms each, CV 0.5, and 2.9 ms overhead`."""
    outside = f"{format_number(1000 * service.outside_s)} ms overhead"
    match service:
        case RequestService():
            requests_text = "1 request" if service.slots == 1 else f"{service.slots} requests"
            text = (
                f"{requests_text} at a time, {format_number(1000 * service.mean_s)} ms each, CV "
                f"{compute_total_cv(service):.2g}"
            )
            if service.is_shared:
                cores = "1 core" if service.slots == 1 else f"{service.slots} cores"
                single = (
                    f"{format_number(1000 * service.mean_s)} ms each without contention, CV "
                    f"{compute_total_cv(service):.2g}"
                )
                text = f"processor sharing on {cores}, {single}"
            if is_two_phase(service):
                slow = (
                    f"{100 * service.slow_share:.2g} % of them {service.slow_factor:.2g} times slower than the others"
                )
                return f"{text}, {slow}, and {outside}"
            return f"{text}, and {outside}"
        case BatchService():
            fixed_ms, per_item_ms = format_number(1000 * service.fixed_s), format_number(1000 * service.per_item_s)
            text = f"{fixed_ms} ms + {per_item_ms} ms per request"
            window = f" after waiting up to {format_number(1000 * service.window_s)} ms" if service.window_s > 0 else ""
            return f"batches of up to {service.max_batch}{window}, {text}, and {outside}"
        case _:
            step_ms, sequence_ms = format_number(1000 * service.step_s), format_number(1000 * service.per_sequence_s)
            text = f"{step_ms} ms + {sequence_ms} ms per sequence"
            return f"steps of {text}, up to {service.max_sequences} sequences, and {outside}"
