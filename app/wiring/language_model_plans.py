"""Continue to a plan from a run of a language model on this machine, whose speeds cannot be planned
with, or from the plan for another model that a run has from the shape of that model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from app.analysis.language_models import find_language_model
from app.errors import StorageError, UsageError
from app.profiles.generation_tests import parse_generation_test
from app.profiles.loading import load_profile_tree
from app.records.local import TEST_TAG, Precision, VariantData
from app.records.planning_inputs import LanguageModel
from app.records.result import Result, ShapePlan
from app.reporting.local import find_headline_variant
from app.storage.run_directory import runs_home, write_atomically
from app.wiring.assumed_models import format_model_name
from app.wiring.planning import PlanRequest

SERVING_NEEDED = (
    "A plan needs the model under load as it is served, but this run measured batches of equal sequences without a "
    "server, in which no request arrives or waits."
)
"""Reason why no plan is based on a local run of language models."""
SHAPE_STATEMENT = (
    "The plan from the shape is for accelerators, and everything in it is assumed: what was measured on a CPU says "
    "nothing about a GPU."
)
_SERVED_SLO = ("ttft_ms.p90 < 1000", "tpot_ms.p90 < 100", "error_rate < 5%")
_SHAPE_SLO = ("ttft_ms.p95 < 1000", "tpot_ms.p95 < 50")
_CLIENTS = (1, 2, 4, 8, 16)
_PEAK = "5/s"
_DEFAULT_INPUT_TOKENS, _DEFAULT_OUTPUT_TOKENS = 512, 128
_CONTEXT_SHARE = 0.5
"""Share of the context of a model for the tokens of a request, so that the chat template fits too."""


def write_serving_profile(result: Result) -> Path:
    """Write a profile that serves the best model of a run and measures it with one number of clients
    after another, and return its path. Raises UsageError if the model no longer exists, and
    StorageError if the profile cannot be written."""
    variant = _get_shown_variant(result)
    folder = _find_model_folder(variant)
    input_tokens, output_tokens = _find_token_lengths(result, variant)
    name = format_model_name(f"{variant.variant.model}-served")
    tree: dict[str, Any] = {
        "sizewise": 1,
        "name": name,
        "description": "how many requests the model serves on this machine, as the basis of a plan",
        "target": {
            "protocol": "openai-chat",
            "serve": {"model": str(folder), "provider": _get_provider(variant), "threads": variant.variant.threads},
        },
        "workload": {"prompts": {"input_tokens": input_tokens, "output_tokens": output_tokens}},
        "load": {"sweep": {"concurrency": list(_CLIENTS), "step_duration": "30s"}},
        "slo": list(_SERVED_SLO),
    }
    load_profile_tree(tree, name)
    return _write_yaml("profiles", name, tree)


def build_shape_request(result: Result) -> PlanRequest:
    """Build the request for a plan of the best model of a run on accelerators, from its shape alone.
    Raises UsageError if the model no longer exists, or if its shape is unknown."""
    from app.inference.inspection.client import inspect_language_model

    variant = _get_shown_variant(result)
    path = _check_exists(variant)
    metadata = inspect_language_model(path)
    if metadata.language_model is None:
        reasons = "; ".join(metadata.missing.values()) or "its files do not state it"
        raise UsageError(
            f"the shape of {path.name} is unknown: {reasons}",
            hint="Enter it on the Plan page under Plan from assumptions.",
        )
    input_tokens, output_tokens = _find_token_lengths(result, variant)
    return _build_request(
        variant.variant.model, metadata.language_model, _PEAK, (input_tokens, output_tokens), _SHAPE_SLO
    )


def build_known_shape_request(shape_plan: ShapePlan) -> PlanRequest:
    """Build the request for the plan for another model that a run has from the shape of that
    model."""
    traffic = shape_plan.plan.traffic
    tokens = traffic.tokens[0]
    return _build_request(
        shape_plan.model,
        find_language_model(shape_plan.model).shape,
        f"{traffic.peak_per_s!r}/s",
        (tokens.input, tokens.output),
        shape_plan.plan.slo,
    )


def _build_request(
    name: str, model: LanguageModel, peak: str, tokens: tuple[float, float], slo: Sequence[str]
) -> PlanRequest:
    shape = {key: value for key, value in msgspec.structs.asdict(model).items() if value}
    path = _write_yaml("assumptions", f"{name}-shape", {"name": format_model_name(name), "language_model": shape})
    input_tokens, output_tokens = tokens
    return PlanRequest(
        (str(path),),
        (f"traffic.peak={peak}", f"traffic.tokens={{input: {input_tokens:g}, output: {output_tokens:g}}}"),
        slo=tuple(slo),
    )


def _get_shown_variant(result: Result) -> VariantData:
    variant = find_headline_variant(result)
    data = next((data for data in result.local.variants if data.variant == variant), None) if result.local else None
    if data is None:
        raise UsageError("the run measured no variant", hint="Run the profile again.")
    return data


def _get_provider(variant: VariantData) -> str:
    return "cpu" if variant.variant.provider == "cpu" else "cuda"


def _check_exists(variant: VariantData) -> Path:
    path = Path(variant.model_file)
    if not path.exists():
        raise UsageError(
            f"the model {path} no longer exists", hint="Restore it, or set target.model in the profile and run again."
        )
    return path


def _find_model_folder(variant: VariantData) -> Path:
    """Return the folder of the measured model, for a GGUF file that of its conversion."""
    from app.wiring.local_dependencies import find_model_folder

    precision = msgspec.convert(variant.variant.precision, Precision)
    return find_model_folder(_check_exists(variant), precision).resolve()


def _find_token_lengths(result: Result, variant: VariantData) -> tuple[int, int]:
    """Return the longest prompt and the longest output of the tests, within the context of the
    model."""
    tests = [parse_generation_test(stage.tags[TEST_TAG]) for stage in result.stages if TEST_TAG in stage.tags]
    input_tokens = max((test.prompt_tokens for test in tests), default=0) or _DEFAULT_INPUT_TOKENS
    output_tokens = max((test.output_tokens for test in tests), default=0) or _DEFAULT_OUTPUT_TOKENS
    if variant.language_model is not None:
        share = min(1.0, _CONTEXT_SHARE * variant.language_model.context / (input_tokens + output_tokens))
        input_tokens, output_tokens = max(1, int(input_tokens * share)), max(1, int(output_tokens * share))
    return input_tokens, output_tokens


def _write_yaml(directory: str, name: str, content: Mapping[str, object]) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "model"
    path = runs_home().parent / directory / f"{slug}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120).encode())
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}",
            hint="Free some space, or set SIZEWISE_HOME to another folder.",
        ) from error
    return path
