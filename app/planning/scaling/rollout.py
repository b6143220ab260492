"""Which replicas to order and which to take away, as Kubernetes' deployments do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from app.planning.scaling.lives import ReplicaLife
from app.records.scaling import RollingUpdate


class RolloutSteps(NamedTuple):
    """`orders` new ones of the latest version; `leaving` are numbers."""

    orders: int
    leaving: tuple[int, ...]


def next_steps(lives: Sequence[ReplicaLife], wanted: int, version: int, update: RollingUpdate | None) -> RolloutSteps:
    """From what there is to what is wanted, all of `version` in the end. `update` is the one under way, if any.

    Those that drain are not counted. The first to leave are those that are not ready, then the newest.
    """
    staying = [life for life in lives if not life.is_leaving]
    old = [life for life in staying if life.version != version]
    if update is None or not old:
        return _scaled(staying, wanted)
    surge, unavailable = limits_of(update, wanted)
    new = len(staying) - len(old)
    orders = max(0, min(wanted + surge - len(staying), wanted - new))
    surplus_new = _first_to_leave([life for life in staying if life.version == version], max(0, new - wanted))
    ready = [life for life in staying if life.is_ready]
    unready_old = [life for life in old if not life.is_ready]
    removable = max(0, len(ready) + len(unready_old) - (wanted - unavailable))
    ready_old = [life for life in reversed(old) if life.is_ready]
    leaving_old = [*unready_old, *ready_old][:removable]
    return RolloutSteps(orders, tuple(life.number for life in (*surplus_new, *leaving_old)))


def limits_of(update: RollingUpdate, wanted: int) -> tuple[int, int]:
    """Surge and unavailable, in replicas; at least one of them is 1."""
    surge, unavailable = math.ceil(update.surge * wanted - 1e-9), math.floor(update.unavailable * wanted + 1e-9)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def _scaled(staying: Sequence[ReplicaLife], wanted: int) -> RolloutSteps:
    missing = wanted - len(staying)
    leaving = _first_to_leave(staying, max(0, -missing))
    return RolloutSteps(max(0, missing), tuple(life.number for life in leaving))


def _first_to_leave(lives: Sequence[ReplicaLife], count: int) -> list[ReplicaLife]:
    ranked = sorted(lives, key=lambda life: (life.is_ready, -life.number))
    return ranked[:count]
