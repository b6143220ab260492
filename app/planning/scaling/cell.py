"""Cells of a large fleet: a smaller fleet with rates and replicas divided by one whole number.

Routing to the less loaded of two random replicas puts p99 within 2 % of a fleet of 256 from 64 replicas on, within 4 %
from 32 and within 7 % from 16, always higher.
"""

from __future__ import annotations

import math
from typing import assert_never

import msgspec.structs

from app.records.scaling import (
    Autoscaler,
    Fixed,
    Hpa,
    Keda,
    Knative,
    Operations,
    Predictive,
    RatePolicy,
    ScalingRules,
    Scheduled,
)

MAX_REQUESTS = 2e7
MIN_REPLICAS = 32
MANY_REQUESTS, MIN_REPLICAS_OF_MANY = 1e8, 16
"""Remaining requests above which a cell may be smaller, since it would take more than a minute of computing."""


def choose_divisor(requests: float, autoscaler: Autoscaler, replicas_at_peak: int) -> int:
    """Return the number by which to divide, 1 for no division.

    The requests become few enough while at least 32 replicas remain, or 16 where that leaves too many requests.
    Replicas that are given as numbers, fixed or in a table, are divided only by a common divisor.
    """
    needed = math.ceil(requests / MAX_REQUESTS)
    stated = _stated_replicas(autoscaler)
    replicas = min(stated) if stated else replicas_at_peak
    has_many = requests / max(1, replicas // MIN_REPLICAS) > MANY_REQUESTS
    max_divisor = replicas // (MIN_REPLICAS_OF_MANY if has_many else MIN_REPLICAS)
    if not stated:
        return max(1, min(needed, max_divisor))
    divisors = [
        times for times in range(1, max(1, max_divisor) + 1) if all(replicas % times == 0 for replicas in stated)
    ]
    return next((times for times in divisors if times >= needed), divisors[-1])


def divide_autoscaler(autoscaler: Autoscaler, divisor: int) -> Autoscaler:
    """Return the autoscaler with bounds and rates of change divided by `divisor`, rounded up."""
    match autoscaler:
        case Fixed():
            return Fixed(autoscaler.replicas // divisor)
        case Scheduled():
            return Scheduled(
                tuple(msgspec.structs.replace(row, replicas=row.replicas // divisor) for row in autoscaler.table)
            )
        case Predictive():
            return msgspec.structs.replace(
                autoscaler, min=_divide_up(autoscaler.min, divisor), max=_divide_up(autoscaler.max, divisor)
            )
        case Hpa() | Keda():
            return msgspec.structs.replace(
                autoscaler,
                min=_divide_up(autoscaler.min, divisor),
                max=_divide_up(autoscaler.max, divisor),
                up=_rules(autoscaler.up, divisor),
                down=_rules(autoscaler.down, divisor),
            )
        case Knative():
            return msgspec.structs.replace(
                autoscaler,
                min=_divide_up(autoscaler.min, divisor),
                max=_divide_up(autoscaler.max, divisor),
                burst=autoscaler.burst / divisor if autoscaler.burst > 0 else autoscaler.burst,
            )
        case _:
            assert_never(autoscaler)


def divide_operations(operations: Operations, divisor: int) -> Operations:
    cold_start = msgspec.structs.replace(
        operations.cold_start, warm_nodes=_divide_up(operations.cold_start.warm_nodes, divisor)
    )
    return msgspec.structs.replace(operations, cold_start=cold_start)


def _stated_replicas(autoscaler: Autoscaler) -> tuple[int, ...]:
    match autoscaler:
        case Fixed():
            return (autoscaler.replicas,)
        case Scheduled():
            return tuple(row.replicas for row in autoscaler.table)
        case _:
            return ()


def _rules(rules: ScalingRules, times: int) -> ScalingRules:
    policies = tuple(
        RatePolicy(policy.unit, math.ceil(policy.value / times), policy.period_s) if policy.unit == "pods" else policy
        for policy in rules.policies
    )
    return msgspec.structs.replace(rules, policies=policies)


def _divide_up(replicas: int, times: int) -> int:
    return -(-replicas // times)
