"""Build the demonstration with a language model: the model, the profile that measures it, and the
inputs of the plan for a larger model, which is not measured."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.analysis.language_models import find_language_model
from app.errors import StorageError
from app.inference.generation.decoder_files import write_random_decoder
from app.inference.generation.decoder_shape import DecoderShape, PagedCache
from app.profiles.loading import load_planning_settings, load_profile_tree
from app.profiles.pricing.catalog import load_catalog
from app.profiles.profile import GeneratingProfile
from app.profiles.traffic import build_traffic
from app.records.offers import Catalog, Offer
from app.records.planning_inputs import AssumedModel, PlanningInputs
from app.storage.run_directory import models_home

NAME = "quickstart-llm"
_MODEL_NAME = "random-decoder"
_SHAPE = DecoderShape(
    layers=4, hidden=384, heads=12, kv_heads=6, feed_forward=1024, vocabulary=4096, context=1024, weight_bits=32
)
"""Shape of the decoder with random weights. On one core of a current server, a step with one
sequence takes about 3 ms."""
_CACHE = PagedCache(blocks=512, max_batch=8, caches_prefixes=False)
"""Cache of the decoder. More clients than `max_batch` have to wait, so that a high concurrency
misses the SLO on every machine."""
_SEED = 1
_CLIENTS = (1, 2, 4, 8, 16, 32)
_STEP_FACTOR = 1.5
"""Duration of a step of the sweep, relative to a step of the search of the other quickstart."""
_RANDOM_MODEL_SLO = ("ttft_ms.p90 < 250", "tpot_ms.p90 < 40", "error_rate < 5%")
_OWN_MODEL_SLO = ("ttft_ms.p90 < 1000", "tpot_ms.p90 < 100", "error_rate < 5%")
"""SLO of a model of the user, whose size is unknown: text appears faster than people
read."""
_PLAN = {"confidence": "90%", "redundancy": "n+1", "providers": ["aws", "azure", "gcp"]}
_SHAPE_MODEL = "Llama 3.1 8B"
_SHAPE_OVERRIDES = (
    "traffic.peak=20/s",
    "traffic.shape=workday",
    "traffic.growth=0%/year",
    "traffic.tokens={input: 900, output: 120}",
    "slo=[ttft_ms.p95 < 1000, tpot_ms.p95 < 50]",
    *(f"plan.{key}={','.join(value) if isinstance(value, list) else value}" for key, value in _PLAN.items()),
)


def write_demonstration_model() -> Path:
    """Write the decoder with random weights, unless it exists, and return its folder. Raises
    StorageError if it cannot be written."""
    folder = models_home() / f"{_MODEL_NAME}-{_SHAPE.layers}x{_SHAPE.hidden}"
    try:
        if not folder.is_dir():
            models_home().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=models_home()) as unfinished:
                written_folder = Path(unfinished) / folder.name
                write_random_decoder(written_folder, _SHAPE, _SEED, _CACHE)
                if not folder.is_dir():  # Another command may have written it at the same time.
                    written_folder.rename(folder)
    except OSError as error:
        raise StorageError(
            f"the model could not be written to {folder}: {error.strerror}",
            hint="Free some space, or set SIZEWISE_HOME to another folder.",
        ) from error
    return folder


def build_profile(
    model_folder: Path, step_duration_s: float, *, is_own_model: bool, overrides: Sequence[str] = ()
) -> GeneratingProfile:
    """Build the profile that serves the model in the folder and measures it with one number of
    clients after another. Raises ProfileError if there is no such folder."""
    tree: dict[str, Any] = {
        "sizewise": 1,
        "name": NAME,
        "description": "how many chats a language model serves on this machine, and the fleet for a day of chats",
        "target": {"protocol": "openai-chat", "serve": {"model": str(model_folder.resolve())}},
        "workload": {
            "prompts": {
                "input_tokens": {"lognormal": {"median": 12, "sigma": 0.6, "max": 64}},
                "output_tokens": "uniform 8 to 16",
            }
        },
        "load": {"sweep": {"concurrency": list(_CLIENTS), "step_duration": f"{_STEP_FACTOR * step_duration_s:g}s"}},
        "slo": list(_OWN_MODEL_SLO if is_own_model else _RANDOM_MODEL_SLO),
        "traffic": {"peak": "200/s", "shape": "workday", "growth": "0%/year"},
        "plan": _PLAN,
    }
    profile = load_profile_tree(tree, "the command line", overrides)
    assert isinstance(profile, GeneratingProfile)
    return profile


def build_shape_inputs(today: datetime.date) -> PlanningInputs:
    """Build the inputs of the plan for a larger language model on GPUs, from the shape of the model
    alone."""
    catalog = load_catalog()
    settings = load_planning_settings(_SHAPE_OVERRIDES, catalog)
    assert settings.traffic is not None
    return PlanningInputs(
        (),
        build_traffic(settings.traffic),
        settings.slo,
        settings.plan,
        msgspec.structs.replace(catalog, offers=_select_cheapest_offers(catalog, settings.plan.providers)),
        today,
        AssumedModel(_SHAPE_MODEL, find_language_model(_SHAPE_MODEL).shape),
    )


def _select_cheapest_offers(catalog: Catalog, providers: Sequence[str]) -> tuple[Offer, ...]:
    """Return the cheapest offer with each type and number of accelerators, to keep the plan
    short."""
    cheapest_offers: dict[tuple[str, float], tuple[float, Offer]] = {}
    for offer in catalog.offers:
        usd_per_hour = offer.on_demand_usd_per_hour
        if offer.accelerator is None or usd_per_hour is None or offer.provider not in providers:
            continue
        key = offer.accelerator, offer.accelerator_count
        if key not in cheapest_offers or usd_per_hour < cheapest_offers[key][0]:
            cheapest_offers[key] = usd_per_hour, offer
    return tuple(offer for _, offer in cheapest_offers.values())
