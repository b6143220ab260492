from __future__ import annotations

import pytest

from app.profiles.architecture import cpu_architecture


@pytest.mark.parametrize(
    ("provider", "instance_type", "architecture"),
    [
        ("aws", "c7g.4xlarge", "arm64"), ("aws", "g5g.xlarge", "arm64"), ("aws", "x2gd.large", "arm64"),
        ("aws", "a1.large", "arm64"), ("aws", "g4dn.xlarge", "x86_64"), ("aws", "g6.xlarge", "x86_64"),
        ("aws", "c7i.4xlarge", "x86_64"), ("aws", "p6-b200.48xlarge", "x86_64"),
        ("gcp", "c4a-standard-16", "arm64"), ("gcp", "t2a-standard-8", "arm64"), ("gcp", "c4-standard-16", "x86_64"),
        ("gcp", "a2-highgpu-1g", "x86_64"),
        ("azure", "Standard_D16ps_v5", "arm64"), ("azure", "Standard_D16as_v6", "x86_64"),
        ("azure", "Standard_NC24ads_A100_v4", "x86_64"),
        ("nebius", "cpu-d3_16vcpu-64gb", "x86_64"), ("verda", "CPU.16V.64G", None), ("vast", "1x-L40S", None),
    ],
)  # fmt: skip
def test_the_name_tells_the_architecture(provider: str, instance_type: str, architecture: str | None) -> None:
    assert cpu_architecture(provider, instance_type, None) == architecture


def test_a_superchip_has_an_arm_cpu() -> None:
    assert cpu_architecture("lambda", "gpu_1x_gh200", "gh200-96gb") == "arm64"
    assert cpu_architecture("azure", "Standard_ND128isr_NDR_GB200_v6", "gb200-186gb") == "arm64"
