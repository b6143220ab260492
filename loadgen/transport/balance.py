"""Client-side load balancing across the replicas of an endpoint."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from loadgen.records import Balance
from loadgen.transport.exchange import Exchange, Transport

_SEED = 1
"""Seed of power-of-two-choices load balancing. It is fixed, so that every run draws the same random
sequence of replicas."""


class Pool(Transport, Protocol):
    @property
    def outstanding_count(self) -> int:
        """Number of requests that are in flight or waiting."""
        ...


class BalancedPools:
    """Load balancer across the pools of several replicas. The index of the pool that sends an
    exchange is stored as the exchange's `target`.

    There are no health checks: a replica that refuses connections is still selected, and the
    requests sent to it fail.
    """

    def __init__(self, pools: Sequence[Pool], balance: Balance) -> None:
        self._pools = pools
        self._choose_target = _make_chooser(pools, balance)

    @property
    def opened_count(self) -> int:
        return sum(pool.opened_count for pool in self._pools)

    @property
    def sent_count(self) -> int:
        return sum(pool.sent_count for pool in self._pools)

    @property
    def closed_idle_count(self) -> int:
        return sum(pool.closed_idle_count for pool in self._pools)

    def list_descriptors(self) -> list[int]:
        return [descriptor for pool in self._pools for descriptor in pool.list_descriptors()]

    async def resolve(self) -> None:
        for pool in self._pools:
            await pool.resolve()

    def submit(self, exchange: Exchange) -> None:
        exchange.target = target = self._choose_target()
        self._pools[target].submit(exchange)

    def abort(self) -> None:
        for pool in self._pools:
            pool.abort()

    def close(self) -> None:
        for pool in self._pools:
            pool.close()


def _make_chooser(pools: Sequence[Pool], balance: Balance) -> Callable[[], int]:
    match balance:
        case "round-robin":
            return itertools.cycle(range(len(pools))).__next__
        case "least-outstanding":
            return _make_least_outstanding(pools)
        case "power-of-two":
            return _make_power_of_two(pools)


def _make_least_outstanding(pools: Sequence[Pool]) -> Callable[[], int]:
    """Return a function that selects the pool with the fewest outstanding requests. Among pools
    with equally few, the function selects by round robin."""
    rotations = itertools.cycle(tuple(_rotate_indices(len(pools), first_index)) for first_index in range(len(pools)))

    def choose() -> int:
        return min(next(rotations), key=lambda target: pools[target].outstanding_count)

    return choose


def _rotate_indices(count: int, first_index: int) -> list[int]:
    return [(first_index + step) % count for step in range(count)]


def _make_power_of_two(pools: Sequence[Pool]) -> Callable[[], int]:
    """Return a function that draws two different pools at random and selects the pool with fewer
    outstanding requests."""
    draw, pool_count = random.Random(_SEED).random, len(pools)

    def choose() -> int:
        first_target = int(draw() * pool_count)
        second_target = (first_target + 1 + int(draw() * (pool_count - 1))) % pool_count
        return (
            first_target
            if pools[first_target].outstanding_count <= pools[second_target].outstanding_count
            else second_target
        )

    return choose
