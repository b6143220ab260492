"""Schemas of exported manifests: those of Kubernetes, and the fields of two CRDs that the exports use.

The CRD schemas are subsets of KEDA 2 and KServe v1beta1: types, enums, minimums and required fields, and the rules of
their webhooks. They allow no other field, so a misspelled one is invalid.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate.utils

OLDEST, NEWEST = "1.25", "1.37"
NAME = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _strings(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": "string"}, **fields}


_TEXT = {"type": "string", "minLength": 1}
_AT_LEAST_1 = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_AT_LEAST_0 = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_METADATA = _object(
    ("name",), name={"type": "string", "pattern": NAME}, namespace=_TEXT, labels=_strings(), annotations=_strings()
)
_PROMETHEUS = _object(
    ("type", "metadata"),
    type={"const": "prometheus"},
    metricType={"enum": ["AverageValue", "Value"]},
    metadata=_object(
        ("serverAddress", "query", "threshold"),
        serverAddress=_TEXT,
        query=_TEXT,
        threshold={"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
    ),
)
_CRON_TIME = {"type": "string", "pattern": r"^([0-9]|[1-5][0-9]) ([0-9]|1[0-9]|2[0-3]) \* \* \*$"}
_CRON = _object(
    ("type", "metadata"),
    type={"const": "cron"},
    metadata=_object(
        ("timezone", "start", "end", "desiredReplicas"),
        timezone=_TEXT,
        start=_CRON_TIME,
        end=_CRON_TIME,
        desiredReplicas={"type": "string", "pattern": "^[1-9][0-9]*$"},
    ),
)
SCALED_OBJECT = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata=_METADATA,
    spec=_object(
        ("scaleTargetRef", "triggers"),
        scaleTargetRef=_object(("name",), apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
        pollingInterval=_AT_LEAST_1,
        minReplicaCount=_AT_LEAST_0,
        maxReplicaCount=_AT_LEAST_1,
        fallback=_object(("failureThreshold", "replicas"), failureThreshold=_AT_LEAST_0, replicas=_AT_LEAST_0),
        triggers={"type": "array", "minItems": 1, "items": {"oneOf": [_PROMETHEUS, _CRON]}},
    ),
)
_PREDICTOR = _object(
    (),
    minReplicas=_AT_LEAST_0,
    maxReplicas=_AT_LEAST_0,
    containerConcurrency={"type": "integer", "minimum": 0},
    scaleMetric={"enum": ["concurrency", "rps"]},  # cpu and memory are for HPA, not for Knative's autoscaler
    scaleTarget=_AT_LEAST_1,
    nodeSelector=_strings(),
    tolerations={"type": "array"},
    model=_object(
        ("modelFormat",),
        modelFormat=_object(("name",), name=_TEXT, version=_TEXT),
        protocolVersion={"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]},
        storageUri=_TEXT,
        resources={"type": "object"},
    ),
    containers={"type": "array", "minItems": 1, "items": {"type": "object", "required": ["name"]}},
)
INFERENCE_SERVICE = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "serving.kserve.io/v1beta1"},
    kind={"const": "InferenceService"},
    metadata=_METADATA,
    spec=_object(
        ("predictor",),
        predictor={**_PREDICTOR, "oneOf": [{"required": ["model"]}, {"required": ["containers"]}]},
    ),
)
_CRDS = {"ScaledObject": SCALED_OBJECT, "InferenceService": INFERENCE_SERVICE}


# the definitions are 1 MB of JSON, which would otherwise be read for every document
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)


@cache
def _build_validator(kind: str) -> jsonschema.Draft202012Validator:
    """Return the validator of a CRD. The schema itself is checked only once, because that is slow."""
    jsonschema.Draft202012Validator.check_schema(_CRDS[kind])
    return jsonschema.Draft202012Validator(_CRDS[kind])


def validate_manifest(document: dict[str, Any]) -> None:
    """Validate a manifest document. Raises `jsonschema.ValidationError`."""
    if document["kind"] not in _CRDS:
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(document, version, strict=True)
        return
    _build_validator(document["kind"]).validate(document)
    _check_counts(document)
    if document["kind"] == "InferenceService":
        kubernetes_validate.validate(_as_pod(document), NEWEST, strict=True)


def _check_counts(document: dict[str, Any]) -> None:
    """Check the rules of the webhooks for pairs of fields, which a schema cannot express."""
    spec = document["spec"].get("predictor", document["spec"])
    min_field, max_field = ("minReplicas", "maxReplicas") if "predictor" in document["spec"] else (
        "minReplicaCount", "maxReplicaCount")  # fmt: skip
    if spec[min_field] > spec[max_field]:
        raise jsonschema.ValidationError(f"{min_field} is over {max_field}")
    for trigger in spec.get("triggers", ()):
        if trigger["type"] == "cron" and trigger["metadata"]["start"] == trigger["metadata"]["end"]:
            raise jsonschema.ValidationError("a cron trigger starts and ends at the same time")


def _as_pod(service: dict[str, Any]) -> dict[str, Any]:
    """Return the pod fields of a predictor as a pod, to validate them with the schema of Kubernetes."""
    predictor = service["spec"]["predictor"]
    model = {"name": "model", "image": "any", "resources": predictor.get("model", {}).get("resources", {})}
    placement = {key: predictor[key] for key in ("nodeSelector", "tolerations") if key in predictor}
    spec = {**placement, "containers": predictor.get("containers", [model])}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "as-pod"}, "spec": spec}
