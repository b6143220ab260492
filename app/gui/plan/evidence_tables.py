"""Tables of the evidence of a plan: measured loads of its language model, and published points near to its servers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from app.analysis.language_models import find_shape_key
from app.gui.results.frames import SectionFrame, build_section_frame
from app.planning.language_models.assumed_model import find_served_model
from app.planning.step_times.bundled import load_bundled_evidence
from app.profiles.plan import is_model_shape_file
from app.records.evidence import MLPERF_SOURCE, EngineName, list_attributions
from app.records.plan import Plan
from app.records.planning_inputs import AssumedModel, PlanningInputs
from app.reporting.evidence_rows import ModelEvidence, build_nearest_row, list_model_evidence
from reports.sections.evidence import EVIDENCE, EvidenceRow, list_model_points
from reports.sections.mlperf import MLPERF, MlperfRow, list_results
from reports.sections.section import Table


class PlannedServer(msgspec.Struct, frozen=True):
    """Server of a plan, which the user's own measurements are probably of. `model` is its name, or the path of the file
    with its shape; `None` for the model of a plan file that has no name."""

    model: str | None
    engine: EngineName
    precision: str
    kv_dtype: str


class PlanEvidence(msgspec.Struct, frozen=True, eq=False):
    """Evidence of a plan of a language model: `points` are all measured loads of the model, `nearest` the published
    points that are nearest to the recommended server, and `mlperf` the results of MLPerf for the model. A table without
    rows is `None`."""

    model: ModelEvidence
    points: SectionFrame | None
    nearest: SectionFrame | None
    mlperf: SectionFrame | None
    attributions: tuple[str, ...]
    server: PlannedServer


def build_plan_evidence(plan: Plan, plan_inputs: PlanningInputs, sources: Sequence[str]) -> PlanEvidence | None:
    """Build the tables of the evidence of a plan with these sources; `None` if it has no assumed language model. Tables
    that a change of the plan does not affect are built once."""
    assumed_model = plan_inputs.assumed_model
    if assumed_model is None:
        return None
    evidence = list_model_evidence(_find_model(assumed_model), plan_inputs.own_evidence)
    recommendation = plan.recommendation
    served_model = find_served_model(
        assumed_model, None if recommendation is None else recommendation.fleet.served_replica
    )
    nearest_rows: tuple[EvidenceRow, ...] = tuple(map(build_nearest_row, plan.nearest_points))
    return PlanEvidence(
        evidence,
        _build_points_frame(evidence.model, evidence.rows),
        _build_nearest_frame(nearest_rows),
        _build_mlperf_frame(evidence.mlperf),
        (
            *list_attributions(row.source for row in (*nearest_rows, *evidence.rows)),
            *([MLPERF_SOURCE.attribution] if evidence.mlperf else []),
        ),
        PlannedServer(
            find_shape_key(assumed_model.model) or _find_shape_file(sources),
            served_model.engine.served_name,
            served_model.precision.weights,
            served_model.precision.kv,
        ),
    )


def _find_shape_file(sources: Sequence[str]) -> str | None:
    return next((source for source in sources if is_model_shape_file(Path(source))), None)


def _find_model(assumed_model: AssumedModel) -> str:
    """Return the key of the published model of the same shape; the name of the model if there is none."""
    shape = assumed_model.model
    return find_shape_key(shape) or load_bundled_evidence().find_model(shape) or assumed_model.name


@lru_cache(maxsize=4)
def _build_nearest_frame(rows: tuple[EvidenceRow, ...]) -> SectionFrame | None:
    return build_section_frame(EVIDENCE, Table(rows=rows)) if rows else None


@lru_cache(maxsize=4)
def _build_points_frame(model: str, rows: tuple[EvidenceRow, ...]) -> SectionFrame | None:
    return build_section_frame(EVIDENCE, list_model_points(model, rows)) if rows else None


@lru_cache(maxsize=4)
def _build_mlperf_frame(rows: tuple[MlperfRow, ...]) -> SectionFrame | None:
    return build_section_frame(MLPERF, list_results(rows)) if rows else None
