from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.errors import ProfileError
from app.profiles.bundled import bundled_models
from app.profiles.loading import load_profile
from app.profiles.local import LocalProfile, VariantSettings
from app.profiles.resolved import compute_profile_hash, format_spec

DIGITS = {"model": "digits"}
Load = Callable[..., LocalProfile]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that writes a profile of a target and loads it; the target starts on line 3."""

    def write(target: Any = DIGITS, **more: Any) -> LocalProfile:
        path = tmp_path / "profile.yaml"
        values = {"sizewise": 1, "name": "t", "target": target, **more}
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        profile = load_profile(path)
        assert isinstance(profile, LocalProfile)
        return profile

    return write


def list_variants(*variants: VariantSettings) -> list[tuple[str, str, int, int, int, tuple[int | str, ...]]]:
    return [
        (variant.provider, variant.precision, variant.threads, variant.streams, variant.batch, variant.devices)
        for variant in variants
    ]


def test_target_with_a_model_and_no_protocol_is_local(load: Load) -> None:
    profile = load()
    assert profile.target.protocol == "local"
    assert list_variants(*profile.target.all_variants) == [("cpu", "as-is", 1, 1, 1, ())]
    assert profile.target.all_variants[0].model == "digits"
    assert (profile.load.scenarios, profile.load.cold_starts) == (("single-stream",), 3)


def test_grid_of_variants_is_the_product_in_order_of_rising_batch(load: Load) -> None:
    target = DIGITS | {"providers": ["cpu", "openvino"], "precision": ["fp32", "int8-dynamic"], "batch": [8, 1, 8]}
    assert list_variants(*load(target).target.all_variants) == [
        (provider, precision, 1, 1, batch, ())
        for provider in ("cpu", "openvino")
        for precision in ("as-is", "int8-dynamic")
        for batch in (1, 8)
    ]


def test_single_grid_values_are_accepted_without_brackets(load: Load) -> None:
    profile = load(DIGITS | {"providers": "cpu", "precision": "fp16", "batch": 4}, load={"scenarios": "offline"})
    assert list_variants(*profile.target.all_variants) == [("cpu", "fp16", 1, 1, 4, ())]
    assert profile.load.scenarios == ("offline",)


def test_several_devices_are_measured_together_and_the_first_device_separately(load: Load) -> None:
    target = DIGITS | {"providers": ["cuda", "cpu"], "devices": [1, "GPU-9f"]}
    assert [(variant.provider, variant.devices) for variant in load(target).target.all_variants] == [
        ("cuda", (1,)),
        ("cuda", (1, "GPU-9f")),
        ("cpu", ()),
    ]


def test_list_of_variants_replaces_the_grid(load: Load, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"model")
    variants = [{"batch": 2}, {"provider": "cuda", "devices": [0], "model": "other.onnx"}]
    variants_of_target = load(DIGITS | {"variants": variants}).target.all_variants
    assert list_variants(*variants_of_target) == [("cpu", "as-is", 1, 1, 2, ()), ("cuda", "as-is", 1, 1, 1, (0,))]
    assert [variant.model for variant in variants_of_target] == ["digits", str(tmp_path / "other.onnx")]


@pytest.mark.parametrize(
    ("target", "line", "message", "hint"),
    [
        (DIGITS | {"precision": "int8"}, 5, "the precision 'int8' is unknown", "Use int8-dynamic or int8-static."),
        (
            DIGITS | {"precision": ["as-is", "int8-dynamc"]},
            7,
            "the precision 'int8-dynamc' is unknown",
            "Did you mean 'int8-dynamic'?",
        ),
        (DIGITS | {"providers": ["cdua"]}, 6, "not 'cdua'", "Did you mean 'cuda'?"),
        (DIGITS | {"provider": "cpu"}, 5, "the key 'provider' is unknown", "Did you mean 'providers'?"),
        (DIGITS | {"batch": [0]}, 6, "0 must be a whole number of at least 1", None),
        (DIGITS | {"batch": []}, 5, "the list is empty", "Remove the key to use its default."),
        ({"model": "digitz"}, 4, "'digitz' is neither a bundled model nor a file", "Did you mean 'digits'?"),
        (
            DIGITS | {"variants": [{"batch": 2}], "batch": [4]},
            3,
            "both variants and batch",
            "Use either a list of variants or a grid.",
        ),
        (DIGITS | {"providers": ["cpu", "cpu"]}, 3, "the variant as-is on cpu is duplicated", None),
        (DIGITS | {"variants": [{"batch": 2}, {"batch": 2}]}, 3, "the variant as-is on cpu is duplicated", None),
        (
            DIGITS | {"batch": list(range(1, 502)), "streams": [1, 2]},
            3,
            "1,002 variants, above the maximum of 1000",
            None,
        ),
        (
            DIGITS | {"providers": ["cuda"], "runtime": {"cuda_graph": True}, "streams": 2},
            3,
            "one stream at a time",
            "Use streams: 1",
        ),
        (
            DIGITS | {"providers": ["cuda"], "runtime": {"cuda_graph": True, "io_binding": False}},
            3,
            "needs io_binding",
            None,
        ),
        (DIGITS | {"devices": [0]}, 3, "no variant uses one", None),
        (DIGITS | {"runtime": {"cuda_graph": True}}, 3, "no variant uses one", None),
        (DIGITS | {"runtime": {"axes": {"sequence": 0}}}, 7, "target.runtime.axes.sequence", None),
        ({"protocol": "local", "variants": [{"model": {"a": 1}}]}, 6, "is not a valid model", None),
        (
            {"protocol": "local", "model": "digits", "url": "http://127.0.0.1"},
            6,
            "the key 'url' is unknown",
            "applies to endpoints",
        ),
    ],
)
def test_invalid_local_targets_are_reported_with_their_line(
    load: Load, target: dict[str, Any], line: int, message: str, hint: str | None
) -> None:
    with pytest.raises(ProfileError) as caught:
        load(target)
    assert message in str(caught.value)
    assert caught.value.line == line, str(caught.value)
    assert (caught.value.hint is None) if hint is None else (hint in str(caught.value.hint))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"load": {"stages": []}}, "the key 'stages' is unknown"),
        ({"load": {"scenarios": ["offlin"]}}, "not 'offlin'"),
        ({"load": {"scenarios": ["server", "server"], "rates": ["9/s"]}}, "contains a duplicate"),
        (
            {"load": {"scenarios": ["server"], "rates": ["200000/s"], "max_duration": "10s"}},
            "the maximum of 1,000,000 arrivals",
        ),
        ({"load": {"rates": ["9/s"]}}, "load.rates requires the server scenario"),
        ({"load": {"min_duration": "9s", "max_duration": "1s"}}, "load.min_duration is longer than load.max_duration"),
        ({"load": {"search": "best"}}, "slo is empty"),
        ({"load": {"search": "best"}, "slo": ["service_ms.p99 < 20 | warn"]}, "slo is empty"),
        ({"limits": {"requests": 100}}, "limited only by duration and memory"),
        ({"limits": {"memory": "lots"}}, "'lots' is not a size"),
        ({"limits": {"memory": 8}}, "8 has no unit"),
        ({"limits": {"memory": "0 GiB"}}, "must be above zero"),
        ({"workload": {"tensors": "nowhere.npz"}}, "nowhere.npz does not exist"),
        ({"workload": {"tensors": "a" * 3000}}, "File name too long"),
        ({"target": DIGITS | {"model": "a" * 3000}}, "File name too long"),
        ({"workload": {"body": {}}}, "the key 'body' is unknown"),
        ({"traffic": {"peak": "900/s"}}, "the key 'traffic' is unknown"),
    ],
)
def test_invalid_local_settings_are_rejected(load: Load, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load(**settings)


def test_static_quantization_requires_calibration_rows(load: Load, tmp_path: Path) -> None:
    target = DIGITS | {"precision": ["int8-static"]}
    with pytest.raises(ProfileError, match="needs calibration rows"):
        load(target)
    (tmp_path / "rows.npz").write_bytes(b"rows")
    load(target, workload={"tensors": "rows.npz"})
    load(target, workload={"calibration": "rows.npz"})


@pytest.mark.parametrize(
    ("written", "size"), [("8 GiB", 2**33), ("8 GB", 8 * 10**9), ("1.5GiB", 3 * 2**29), ("300 MB", 300_000_000)]
)
def test_memory_limit_survives_a_round_trip_to_the_byte(load: Load, tmp_path: Path, written: str, size: int) -> None:
    profile = load(limits={"memory": written})
    assert profile.limits.memory_bytes == size
    spec = tmp_path / "spec.yaml"
    spec.write_text(format_spec(profile))
    assert load_profile(spec).limits == profile.limits


@pytest.mark.parametrize(
    ("target", "more"),
    [
        (DIGITS, {}),
        (DIGITS | {"providers": ["cpu", "cuda"], "batch": [1, 8], "devices": [0, 1]}, {"slo": ["service_ms.p99 < 20"]}),
        (DIGITS | {"variants": [{"batch": 2}, {"provider": "cuda", "devices": ["GPU-1"]}]}, {}),
        (DIGITS | {"runtime": {"io_binding": True, "axes": {"batch": 4}}}, {"limits": {"memory": "8 GB"}}),
        (DIGITS, {"load": {"scenarios": ["offline", "server"], "rates": ["70%", "90/min"], "warmup": "0s"}}),
    ],
)
def test_local_spec_lists_defaults_and_survives_a_round_trip(
    load: Load, tmp_path: Path, target: dict[str, Any], more: dict[str, Any]
) -> None:
    profile = load(target, **more)
    text = format_spec(profile)
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    reloaded = load_profile(spec)
    assert isinstance(reloaded, LocalProfile)
    assert reloaded.target.all_variants == profile.target.all_variants
    assert format_spec(reloaded) == text
    assert compute_profile_hash(reloaded) == compute_profile_hash(profile)
    printed = yaml.safe_load(text)
    assert printed["load"]["half_width"] == "2%"
    assert printed["target"]["precision"] == ["as-is"]
    assert printed["workload"]["calibration_rows"] == 128


def test_local_profile_hash_depends_on_model_content_and_not_on_its_path(load: Load, tmp_path: Path) -> None:
    model = bundled_models()["digits"].read_bytes()
    for name, content in (("a.onnx", model), ("b.onnx", model), ("c.onnx", model + b"\0")):
        (tmp_path / name).write_bytes(content)
    same, moved, changed = (compute_profile_hash(load({"model": f"{name}.onnx"})) for name in "abc")
    assert same == moved == compute_profile_hash(load())
    assert changed != same
    assert compute_profile_hash(load(DIGITS | {"batch": [2]})) != same
    listed, moved, changed = (
        compute_profile_hash(load(DIGITS | {"variants": [{"model": f"{name}.onnx"}]})) for name in "abc"
    )
    assert listed == moved != changed
