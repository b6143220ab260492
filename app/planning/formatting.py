"""Formatting of numbers and service models in a plan's text."""

from __future__ import annotations

import math

from app.planning.service_models.service_times import compute_total_cv, is_two_phase
from app.records.service import BatchService, RequestService, ServiceModel


def format_number(number: float) -> str:
    """Format a number: whole from 100 on, else three significant digits, never with an exponent."""
    if abs(number) >= 100 or number == 0:
        return f"{number:,.0f}"
    decimals = max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_usd(number: float) -> str:
    return f"{'-' if number < 0 else ''}${format_number(abs(number))}"


def format_share(number: float) -> str:
    """Format a share as a percentage that does not round up to certainty."""
    return "over 99.9%" if 0.9995 <= number < 1 else f"{number * 100:.1f}".removesuffix(".0") + "%"


def format_service_model(service: ServiceModel) -> str:
    """Describe a service model, such as `1 request at a time of 2.1 ms, CV 0.5, and 2.9 ms outside`."""
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
            text = f"{format_number(1000 * service.fixed_s)} + {format_number(1000 * service.per_item_s)} b ms"
            window = f" after waiting up to {format_number(1000 * service.window_s)} ms" if service.window_s > 0 else ""
            return f"batches of up to {service.max_batch}{window}, {text}, and {outside}"
        case _:
            step = f"{format_number(1000 * service.step_s)} + {format_number(1000 * service.per_sequence_s)} b ms"
            return f"steps of {step}, up to {service.max_sequences} sequences, and {outside}"
