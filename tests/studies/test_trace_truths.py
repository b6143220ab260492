"""The check of recorded traffic, up to where it calls the command: its usage, its readers and its evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.studies.trace_truths import Request, bursty_requests, main, needed_replicas, read_requests, services_s


def test_missing_trace_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 3
    assert main(["--trace", "none.csv"]) == 3
    assert capsys.readouterr().err.splitlines()[0].startswith("Give at least one trace with --trace PATH")


def test_public_trace_formats_are_read(tmp_path: Path) -> None:
    azure, mooncake = tmp_path / "azure.csv", tmp_path / "mooncake.jsonl"
    azure.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.4799600,3180,8\n"
    )
    mooncake.write_text('{"timestamp": 0, "input_length": 4808, "output_length": 10, "hash_ids": [0]}\n'
                        '{"timestamp": 500, "input_length": 3180, "output_length": 8, "hash_ids": [0]}\n')  # fmt: skip
    for path in (azure, mooncake):
        first, second = read_requests(path)
        assert first == Request(0.0, 4808, 10)
        assert second[0] == pytest.approx(0.5, abs=1e-5)
        assert second[1:] == (3180, 8)


def test_bursts_need_more_replicas_than_even_traffic() -> None:
    even, bursts = (bursty_requests(1.0, times, 10.0, 60.0) for times in (1.0, 4.0))
    needed = [
        needed_replicas([([one.at_s for one in requests], services_s(requests, "constant", 0.3))], 0.75, 0.99)
        for requests in (even, bursts)
    ]
    assert needed[0] < 0.6 * needed[1]
