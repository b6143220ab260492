"""What a buyer reads: plans of published language models on accelerators that were not measured, by the user's command.

`python -m tests.studies.buyers_table` prints the tables of `docs/validation/language-model-plans.md`. Each cell is
`sizewise plan --model MODEL --accelerator GPU …` with the bundled prices.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import msgspec

from app.cli.main import main as sizewise

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "qwen3-30b-a3b", "deepseek-r1", "gpt-oss-120b")
GPUS = ("h100", "h200", "b200", "l40s", "a100", "mi300x")
LIMITS = ("--slo", "ttft p95 < 1s", "--slo", "tpot p95 < 40ms")
FLEETS = (
    ("deepseek-r1", "h200", "fp8", "tpot p95 < 20ms"),
    ("deepseek-r1", "b200", "fp4", "tpot p95 < 20ms"),
    ("gpt-oss-120b", "h200", "fp4", "tpot p95 < 10ms"),
)
"""Fleets with a limit on TPOT alone, which earlier arithmetic planned several times too small."""


def plan(model: str, gpu: str, *options: str) -> dict[str, Any] | str:
    """Return the plan as JSON, or why there is none."""
    printed, errors = io.StringIO(), io.StringIO()
    command = ("plan", "--model", model, "--accelerator", gpu, "--input-tokens", "1000", "--output-tokens", "1000",
               "--peak", "5/s", *options, "--json")  # fmt: skip
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        sizewise(command)
    if not printed.getvalue():
        return errors.getvalue().splitlines()[0]
    decoded: dict[str, Any] = msgspec.json.decode(printed.getvalue())
    return decoded


def describe(planned: dict[str, Any] | str) -> str:
    """Describe the recommended fleet: replicas × accelerators of one, monthly cost with P10 to P90, and P(SLO met)
    without the spare instance; or why there is none."""
    if isinstance(planned, str):
        return planned.removeprefix("error: ")
    if planned["recommendation"] is None:
        (best,) = (each["offer"] for each in planned["accelerators"])
        return next(offer["rejected"] or "" for offer in planned["offers"] if offer["offer"] == best)
    fleet = planned["recommendation"]["fleet"]
    cost, replicas = fleet["usd_per_month"], fleet["replicas_per_instance"]
    return (
        f"{fleet['instances'] * replicas} × {fleet['accelerator_count'] / replicas:.0f}, ${cost['value']:,.0f} "
        f"({cost['ci95'][0]:,.0f}–{cost['ci95'][1]:,.0f}), "
        f"P {100 * fleet['slo_probabilities']['planned']:.0f} %"
    )


def main() -> int:
    print("| model | " + " | ".join(GPUS) + " |\n" + "|---" * (len(GPUS) + 1) + "|")
    for model in MODELS:
        print(f"| {model} | " + " | ".join(describe(plan(model, gpu, *LIMITS)) for gpu in GPUS) + " |", flush=True)
    print("\n| model | GPU | precision | limit | fleet |\n|---|---|---|---|---|")
    for model, gpu, precision, limit in FLEETS:
        fleet = describe(plan(model, gpu, "--precision", precision, "--slo", limit))
        print(f"| {model} | {gpu} | {precision} | {limit} | {fleet} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
