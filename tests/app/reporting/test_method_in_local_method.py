from __future__ import annotations

from app.reporting.method import describe_local_run, describe_method, read_spec
from tests.fakes.local_runs import SPEC, local_run, one_variant, only_failed
from tests.fakes.results import full_run


def test_sentences_are_made_from_the_run_and_its_profile() -> None:
    run = local_run()
    method = "\n".join(describe_method(run.result, read_spec(SPEC), run.telemetry))
    for part in (
        "5 variants were run one after another, each in a process of its own",
        "4,200 calls were timed, in scenarios as MLPerf defines them. Single-stream: one call after another",
        "server: calls that arrive by a Poisson process",
        "latency runs from when a call was due",
        "medians of three windows in a row agreed within 10\u202f%, or 10s had passed",
        "A scenario lasted 1s at least, and until half the 95\u202f% interval of the mean time was 2% of it",
        "64 rows a variant, and held against those of the fp32 model",
        "Accuracy is of 450 labelled rows",
        "4 cold starts were made",
        "from every call's own times",
    ):
        assert part in method
    assert "open loop" not in method
    assert "multi-stream" not in method


def test_what_was_not_done_is_not_told() -> None:
    method = "\n".join(describe_local_run(one_variant().result, {}))
    assert method.startswith("The variant was run in a process of its own")
    for part in ("server", "Outputs", "Accuracy", "cold start", "A scenario lasted"):
        assert part not in method


def test_without_a_call_there_is_nothing_to_tell() -> None:
    assert describe_local_run(only_failed().result, {}) == ()
    assert describe_local_run(full_run().result, {}) == ()
