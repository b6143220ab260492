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

_INSPECTED_IN_SOAK_TIER = OUTSIDE.keys() - {hostile_models.in_the_parent_folder, hostile_models.in_a_pipe}
"""Models that are rejected by one check, which tests/app/inference/test_model_file.py tests with each of them."""

INSPECT_ALL = """
import json, resource, sys
from pathlib import Path
from app.errors import SizewiseError
from app.inference.inspection.client import inspect_model
from app.records.model import ShapeOverrides

def seconds():
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime

for path in sys.argv[1:]:
    before, code, message = seconds(), 0, "accepted"
    try:
        inspect_model(Path(path), ShapeOverrides())
    except SizewiseError as error:
        code, message = int(error.exit_code), str(error)
    kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"code": code, "message": message, "cpu_s": seconds() - before, "peak_mib": kib / 1024}))
"""


class Rejection(msgspec.Struct, frozen=True):
    """`cpu_s` is the child's processor time; `peak_mib` the largest resident size of any child so far."""

    code: int
    message: str
    cpu_s: float
    peak_mib: float


@pytest.fixture(scope="module")
def rejections(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[Maker, Rejection]:
    omitted_makers = _INSPECTED_IN_SOAK_TIER if request.config.option.markexpr == Tier.TIMING else set()
    makers = [maker for maker in REFUSED if maker not in omitted_makers]
    paths = [str(maker(tmp_path_factory.mktemp(maker.__name__))) for maker in makers]
    command = [sys.executable, "-c", INSPECT_ALL, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return {maker: Rejection(**json.loads(line)) for maker, line in zip(makers, lines, strict=True)}


@pytest.mark.parametrize(
    "maker",
    [
        # in the tier of the test of the cost, so that the models are inspected once
        pytest.param(maker, marks=pytest.mark.soak if maker in _INSPECTED_IN_SOAK_TIER else pytest.mark.timing)
        for maker in REFUSED
    ],
    ids=lambda maker: maker.__name__,
)
def test_hostile_model_is_rejected_with_a_readable_message(maker: Maker, rejections: dict[Maker, Rejection]) -> None:
    rejection = rejections[maker]
    assert re.search(REFUSED[maker], rejection.message), rejection.message
    assert rejection.code == ExitCode.USAGE
    assert "\x1b" not in rejection.message


@pytest.mark.timing
def test_hostile_models_use_less_than_5_times_the_median_cpu_time(
    rejections: dict[Maker, Rejection],
) -> None:
    usual_cpu_s = statistics.median(rejection.cpu_s for rejection in rejections.values())
    costly = {
        maker.__name__: rejection.cpu_s for maker, rejection in rejections.items() if rejection.cpu_s >= 5 * usual_cpu_s
    }
    assert costly == {}


@pytest.mark.timing
def test_hostile_models_use_less_than_512_mib(rejections: dict[Maker, Rejection]) -> None:
    assert 0 < max(rejection.peak_mib for rejection in rejections.values()) < 512


def test_inspected_bundled_model_has_inputs_parameters_and_costs() -> None:
    inspected = inspect_model(DIGITS_MODEL, ShapeOverrides())
    assert (inspected.inputs[0].name, inspected.inputs[0].shape) == ("image", ("batch", 1, 8, 8))
    assert inspected.parameters.bytes == inspected.parameters.count * 4
    assert [cost.batch for cost in inspected.costs] == [1, 2, 4, 8, 16, 32, 64]
    assert inspected.external_files == ()


def test_external_weights_in_the_model_folder_are_counted(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(128))
    inspected = inspect_model(hostile_models.weights_at(tmp_path, "w.bin"), ShapeOverrides())
    assert [(file.name, file.size_bytes) for file in inspected.external_files] == [("w.bin", 128)]
    assert inspected.parameters.count == 32


def test_model_with_inconsistent_shapes_has_parameters_but_no_costs(tmp_path: Path) -> None:
    inspected = inspect_model(hostile_models.shapes_at_odds(tmp_path), ShapeOverrides())
    assert inspected.cost_reason is not None
    assert "are inconsistent" in inspected.cost_reason
    assert (inspected.costs, inspected.parameters.count) == ((), 12)


def test_length_of_an_unknown_axis_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no dynamic axis 'seq'"):
        inspect_model(DIGITS_MODEL, ShapeOverrides(axes={"seq": 4}))


@pytest.mark.parametrize(
    "regex",
    [
        pytest.param("(?:[a-z ]|[a-y ]|[a-x ])+[^a-z ]", id="too many steps"),
        pytest.param("(?:[a-z\\n]|[a-y\\n]){22}[^a-z\\n]", id="too slow"),
    ],
)
def test_tokenizer_that_crashes_or_blocks_a_load_worker_is_rejected(tmp_path: Path, regex: str) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(regex), "isolated")
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    with pytest.raises(UsageError, match=re.escape(str(path))):
        check_tokenizer(path)


def test_byte_level_bpe_tokenizer_passes_the_check(tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    check_tokenizer(path)
