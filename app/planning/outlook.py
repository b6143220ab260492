"""The recommended fleet through the coming year's minutes, as a fluid."""

from __future__ import annotations

import numpy as np

from app.planning.candidates import Candidate
from app.planning.demand import year_rates_per_s
from app.planning.sizing import Demand, peak_carried_per_s
from app.planning.year import year_of
from app.records.plan import Outlook
from app.records.plan_question import PlanQuestion


def outlook_of(best: Candidate, demand: Demand, question: PlanQuestion) -> Outlook:
    """With all its instances, spares too, at the rate that each carries inside the SLO as surely as was asked."""
    rates = year_rates_per_s(question.traffic, question.today)
    year = year_of(rates, np.array([peak_carried_per_s(best.instances, best.capacity, demand)]))
    return Outlook(
        hours_over=float(year.hours_over[0]),
        delayed_share=float(year.delayed_share[0]),
        worst_wait_s=float(year.worst_wait_s[0]),
        mean_utilisation=float(year.mean_utilisation[0]),
    )
