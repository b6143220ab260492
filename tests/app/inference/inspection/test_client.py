from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import tokenizers

from app.errors import ExitCode, UsageError
from app.inference.inspection.client import check_tokenizer, inspect_model
from app.inference.probe import DIGITS_MODEL
from app.records.model import ShapeOverrides
from tests.fakes import hostile_models
from tests.fakes.hostile_models import OUTSIDE, REFUSED, Maker
from tests.tiers import Tier

pytestmark = pytest.mark.process

_INSPECTED_SELDOM = OUTSIDE.keys() - {hostile_models.in_the_parent_folder, hostile_models.in_a_pipe}
"""Each is refused in the same place, of which tests/app/inference/test_model_file.py asks for every one."""

ASK_ALL = """
import json, resource, sys
from pathlib import Path
from app.errors import SizewiseError
from app.inference.inspection.client import inspect_model
from app.records.model import ShapeOverrides

def seconds():
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime

for path in sys.argv[1:]:
    before, code, said = seconds(), 0, "accepted"
    try:
        inspect_model(Path(path), ShapeOverrides())
    except SizewiseError as error:
        code, said = int(error.exit_code), str(error)
    kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"code": code, "said": said, "cpu_s": seconds() - before, "peak_mib": kib / 1024}))
"""


class Refusal(msgspec.Struct, frozen=True):
    """`cpu_s` is the child's processor time; `peak_mib` the largest resident size of any child so far."""

    code: int
    said: str
    cpu_s: float
    peak_mib: float


@pytest.fixture(scope="module")
def refusals(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[Maker, Refusal]:
    left_out = _INSPECTED_SELDOM if request.config.option.markexpr == Tier.TIMING else set()
    makers = [maker for maker in REFUSED if maker not in left_out]
    paths = [str(maker(tmp_path_factory.mktemp(maker.__name__))) for maker in makers]
    command = [sys.executable, "-c", ASK_ALL, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return {maker: Refusal(**json.loads(line)) for maker, line in zip(makers, lines, strict=True)}


@pytest.mark.parametrize(
    "maker",
    [
        # beside the test of the cost, so that the models are inspected once
        pytest.param(maker, marks=pytest.mark.soak if maker in _INSPECTED_SELDOM else pytest.mark.timing)
        for maker in REFUSED
    ],
    ids=lambda maker: maker.__name__,
)
def test_hostile_model_is_refused_in_a_sentence(maker: Maker, refusals: dict[Maker, Refusal]) -> None:
    refusal = refusals[maker]
    assert re.search(REFUSED[maker], refusal.said), refusal.said
    assert refusal.code == ExitCode.USAGE
    assert "\x1b" not in refusal.said


@pytest.mark.timing
def test_no_hostile_model_costs_more_than_a_few_times_what_any_refused_model_does(
    refusals: dict[Maker, Refusal],
) -> None:
    usual_cpu_s = statistics.median(refusal.cpu_s for refusal in refusals.values())
    costly = {maker.__name__: refusal.cpu_s for maker, refusal in refusals.items() if refusal.cpu_s >= 5 * usual_cpu_s}
    assert costly == {}


@pytest.mark.timing
def test_no_hostile_model_takes_half_a_gibibyte(refusals: dict[Maker, Refusal]) -> None:
    assert 0 < max(refusal.peak_mib for refusal in refusals.values()) < 512


def test_the_bundled_model_is_reported_in_full() -> None:
    facts = inspect_model(DIGITS_MODEL, ShapeOverrides())
    assert (facts.inputs[0].name, facts.inputs[0].shape) == ("image", ("batch", 1, 8, 8))
    assert facts.parameters.bytes == facts.parameters.count * 4
    assert [cost.batch for cost in facts.costs] == [1, 2, 4, 8, 16, 32, 64]
    assert facts.external_files == ()


def test_weights_beside_the_model_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(128))
    facts = inspect_model(hostile_models.weights_at(tmp_path, "w.bin"), ShapeOverrides())
    assert [(file.name, file.size_bytes) for file in facts.external_files] == [("w.bin", 128)]
    assert facts.parameters.count == 32


def test_shapes_at_odds_cost_the_costs_alone(tmp_path: Path) -> None:
    facts = inspect_model(hostile_models.shapes_at_odds(tmp_path), ShapeOverrides())
    assert facts.cost_reason is not None
    assert "are inconsistent" in facts.cost_reason
    assert (facts.costs, facts.parameters.count) == ((), 12)


def test_lengths_of_unknown_axes_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no dynamic axis 'seq'"):
        inspect_model(DIGITS_MODEL, ShapeOverrides(axes={"seq": 4}))


@pytest.mark.parametrize(
    "regex",
    [
        pytest.param("(?:[a-z ]|[a-y ]|[a-x ])+[^a-z ]", id="too many steps"),
        pytest.param("(?:[a-z\\n]|[a-y\\n]){22}[^a-z\\n]", id="too slow"),
    ],
)
def test_a_tokenizer_that_would_end_or_block_the_load_worker_is_refused(tmp_path: Path, regex: str) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(regex), "isolated")
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    with pytest.raises(UsageError, match=re.escape(str(path))):
        check_tokenizer(path)


def test_a_tokenizer_of_a_language_model_passes_the_trial(tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    check_tokenizer(path)
