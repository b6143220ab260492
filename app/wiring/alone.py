"""The model that a profile has served, as it is measured alone before."""

from __future__ import annotations

from app.inference.job import SessionSettings, VariantJob
from app.profiles.profile import EndpointProfile, OipProfile
from app.session.spec import AloneSpec

_SECONDS = 0.6


def alone_of(profile: EndpointProfile) -> AloneSpec | None:
    """None where the run serves no model of its own."""
    if not isinstance(profile, OipProfile) or profile.target.serve is None:
        return None
    serve, workload = profile.target.serve, profile.workload
    is_labelled = workload.tensors is not None and workload.labels is not None
    batches = _batches(serve.max_batch)
    job = VariantJob(
        model=str(serve.model_path.absolute()),
        provider=serve.provider,
        batch=batches[0],
        settings=SessionSettings(threads=serve.threads),
        rows=str(workload.tensors) if is_labelled else None,
        label=workload.labels if is_labelled else None,
        output=workload.output if is_labelled else None,
    )
    return AloneSpec(job, serve.model_path.stem, batches, _SECONDS)


def _batches(max_batch: int) -> tuple[int, ...]:
    """Powers of two up to the largest batch the endpoint forms, and that one."""
    powers = [2**power for power in range(max_batch.bit_length()) if 2**power < max_batch]
    return (*powers, max_batch)
