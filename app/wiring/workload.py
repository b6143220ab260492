"""Convert the workload of a profile to the workload that load workers send."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from app.analysis.local.accuracy import compute_chance_accuracy
from app.errors import UsageError
from app.inference.inspection.client import check_tokenizer
from app.profiles.datasets import SECRET_BODY_KEYS, is_redacted
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.problems import BadValueError
from loadgen.regular_files import open_regular
from loadgen.workloads import (
    BatchWorkload,
    DatasetPrompts,
    GrpcWorkload,
    MixedWorkload,
    OpenAiWorkload,
    RealtimeWorkload,
    SessionPrompts,
    SyntheticPrompts,
    TracePrompts,
    TranscriptionWorkload,
    Workload,
)


def build_workload(profile: EndpointProfile) -> Workload:
    """Return the workload of a profile. Raises UsageError for an invalid file, or if a request body
    was redacted when the profile was stored."""
    _require_unredacted_body(profile)
    try:
        return profile.build_workload()
    except BadValueError as error:  # a file of the profile has become invalid since the profile was loaded
        raise UsageError(str(error), hint=error.hint) from error


def check_data(workload: Workload) -> None:
    """Build the requests that contain rows of a dataset, as a load worker does. A prompt dataset with a tokenizer is
    only read, since tokenizers run only in load workers. Raises UsageError if no requests can be made of the data."""
    from loadgen.payloads.datasets import DatasetError, DatasetReader
    from loadgen.protocols import build_requests
    from loadgen.protocols.prepared import MAX_REQUESTS_BYTES, WorkloadError
    from loadgen.records import Endpoint
    from loadgen.transport.address import parse_url

    url = "http://localhost"  # not contacted
    try:
        match workload:
            case MixedWorkload():
                for request_class in workload.classes:
                    check_data(request_class.workload)
            case BatchWorkload() | GrpcWorkload():
                check_data(workload.requests)
            case OpenAiWorkload(prompts=DatasetPrompts() | SessionPrompts() as prompts, tokenizer=str()):
                for _ in DatasetReader(prompts.dataset, MAX_REQUESTS_BYTES):
                    pass
            case (
                OpenAiWorkload(prompts=SyntheticPrompts() | TracePrompts())
                | TranscriptionWorkload(dataset=None)
                | RealtimeWorkload(dataset=None)
            ):
                pass  # the contents are generated
            case _:
                build_requests(workload, Endpoint((url,)), parse_url(url))
    except (WorkloadError, DatasetError) as error:
        raise UsageError(str(error), hint=getattr(error, "hint", None)) from error


def check_tokenizers(workload: Workload) -> None:
    """Try each tokenizer of a workload in a child process with limits, because its file may come from
    anybody. Raises UsageError, which names the file, if a tokenizer cannot be used or is rejected."""
    match workload:
        case MixedWorkload():
            tokenizers = {
                request_class.workload.tokenizer
                for request_class in workload.classes
                if isinstance(request_class.workload, OpenAiWorkload)
            }
        case BatchWorkload(requests=OpenAiWorkload(tokenizer=path)) | OpenAiWorkload(tokenizer=path):
            tokenizers = {path}
        case _:
            return
    for tokenizer in sorted(path for path in tokenizers if path is not None):
        check_tokenizer(Path(tokenizer))


def _require_unredacted_body(profile: EndpointProfile) -> None:
    settings_by_key = {"workload": profile.workload} | {
        f"workload.classes[{index}]": request_class for index, request_class in enumerate(profile.classes)
    }
    for settings_key, settings in settings_by_key.items():
        for key in SECRET_BODY_KEYS:
            if is_redacted(getattr(settings, key, None)):
                hint = "Restore the secret in this profile, or run the original profile."
                raise UsageError(
                    f"the secret in {settings_key}.{key} was removed when this profile was stored", hint=hint
                )


def compute_label_chance_accuracy(profile: EndpointProfile) -> float | None:
    """Return the accuracy of always predicting the most frequent label. Return `None` without
    labels, or if the labels cannot be read; the load worker reports unreadable labels."""
    tensors, labels = getattr(profile.workload, "tensors", None), getattr(profile.workload, "labels", None)
    if tensors is None or labels is None:
        return None
    try:
        with open_regular(tensors) as file, np.load(file, allow_pickle=False) as arrays:
            return compute_chance_accuracy(arrays[labels])
    except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error):
        return None
