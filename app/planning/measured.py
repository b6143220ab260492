"""A measured target as a plan takes it: its capacity, and the service model of one replica."""

from __future__ import annotations

from collections.abc import Sequence

from app.records.curves import Rung
from app.records.offers import CapacityCurve
from app.records.plan_question import MeasuredTarget
from app.records.result import Hardware


def measured_target(
    name: str, hardware: Hardware, curve: CapacityCurve, rungs: Sequence[Rung], *, is_poisson: bool = True
) -> MeasuredTarget:
    """`rungs` are of one replica. Takes a second or two where a service model can be fitted."""
    if not is_poisson:
        return MeasuredTarget(name, hardware, curve, why_no_fit="requests came otherwise than at Poisson's random")
    from app.planning.moments import CannotFitError
    from app.planning.service_fit import fit_service  # the simulation takes a second to import

    try:
        return MeasuredTarget(name, hardware, curve, fit_service(rungs))
    except CannotFitError as error:
        return MeasuredTarget(name, hardware, curve, why_no_fit=str(error))
