"""The bundled model of step times beside published offline rates: python -m tests.studies.language_models prints them.

Lengths of answers are the published tokens over samples; lengths of prompts are not published there and are assumed.
Cards and batch are those of the vendor's configuration where it was read, else the fewest and 1,024.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from msgspec.structs import replace

from app.planning.language_models.assumed_model import AssumedReplica, build_assumed_replicas
from app.planning.language_models.memory import MemoryPlan, find_smallest_degree
from app.planning.sizing.slo_objectives import SloObjectives
from app.profiles.mlperf_results import MlperfResult, load_mlperf_results
from app.profiles.pricing.catalog import load_catalog
from app.records.planning_inputs import AssumedModel, Engine, LanguageModel, Precision
from app.records.traffic import TokenLengths
from tests.fakes.language_models import LLAMA_2_70B, LLAMA_8B, MIXTRAL
from tests.fakes.offers import planning_inputs

# model, assumed tokens of a prompt
MODELS = {"llama2-70b-99": (LLAMA_2_70B, 300.0), "llama3.1-8b": (LLAMA_8B, 800.0), "mixtral-8x7b": (MIXTRAL, 400.0)}
# cards, batch
CONFIGURED = {
    ("v4.1", "h100-sxm5-80gb"): (2, 896),
    ("v4.1", "h100-nvl-94gb"): (2, 1300),
    ("v4.1", "h200-sxm-141gb"): (1, 806),
    ("v4.1", "gh200-144gb"): (1, 806),
}


class Check(NamedTuple):
    published: MlperfResult
    assumed: AssumedReplica
    tokens_per_s_each: float
    """Published, of one card."""
    expected_per_s_each: float

    @property
    def cards(self) -> int:
        return int(self.assumed.target.hardware.accelerator_count)

    @property
    def log_error(self) -> float:
        return math.log(self.tokens_per_s_each / self.expected_per_s_each)


def compare_with_published() -> list[Check]:
    return [
        _check(result, result.tokens_per_s, *MODELS[result.model])
        for result in load_mlperf_results(load_catalog().accelerators)
        if result.scenario == "offline" and result.tokens_per_s is not None and result.model in MODELS
    ]


def _check(result: MlperfResult, tokens_per_s: float, model: LanguageModel, prompt_tokens: float) -> Check:
    card = load_catalog().accelerators[result.accelerator_key]
    precision = Precision(result.dtype, result.dtype, "fp8")
    answer_tokens = tokens_per_s / result.samples_per_s
    degree, batch = CONFIGURED.get((result.round, result.accelerator_key), (0, 1024))
    if model is not LLAMA_2_70B or not degree:
        fewest = find_smallest_degree(model, card, precision, math.ceil(prompt_tokens + answer_tokens), sequences=64)
        if not isinstance(fewest, MemoryPlan):
            raise AssertionError(fewest.reason)
        degree = fewest.degree
    described = AssumedModel(result.model, model, precision, Engine(max_sequences=batch))
    inputs = planning_inputs(slo=(), tokens=(TokenLengths(1.0, prompt_tokens, answer_tokens),))
    replicas = build_assumed_replicas(
        card, replace(inputs, measured=(), assumed_model=described), SloObjectives((), None)
    )
    assert isinstance(replicas, tuple)
    replica = next(replica for replica in replicas if replica.target.hardware.accelerator_count >= degree)
    fit, cards = replica.target.fit, replica.target.hardware.accelerator_count
    assert fit is not None
    expected = fit.highest_per_s * answer_tokens / cards
    return Check(result, replica, tokens_per_s / result.accelerator_count, expected)


def main() -> None:
    checks = compare_with_published()
    print("| round | model | card | cards a replica | tokens/s a card, published | expected | published / expected |")
    print("|" + "---|" * 7)
    for check in checks:
        row = check.published
        cells = (
            row.round,
            row.model,
            row.accelerator_key,
            check.cards,
            f"{check.tokens_per_s_each:,.0f}",
        )
        ratio = math.exp(check.log_error)
        print(f"| {' | '.join(map(str, cells))} | {check.expected_per_s_each:,.0f} | {ratio:.2f} |")
    logs = [check.log_error for check in checks]
    rms = math.sqrt(sum(log**2 for log in logs) / len(logs))
    print(f"\n{len(checks)} rows: geometric mean {math.exp(sum(logs) / len(logs)):.2f}, log rms {rms:.2f}")


if __name__ == "__main__":
    main()
