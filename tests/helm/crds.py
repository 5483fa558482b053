"""What the objects of operators must look like: the parts that this chart uses, closed."""

from __future__ import annotations

from typing import Any, Final


def _closed(required: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **more},
    }


TEXT: Final = {"type": "string", "minLength": 1}
WHOLE: Final = {"type": "integer", "minimum": 0}
TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
META: Final = _closed({"name": TEXT}, labels=TEXTS, annotations=TEXTS)
DURATION: Final = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}


def _object(api: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _closed(
        {"apiVersion": {"const": api}, "kind": {"const": kind}, "metadata": META, "spec": spec}
    )


_TRIGGER = _closed(
    {
        "type": {"const": "prometheus"},
        "metadata": _closed(
            {"serverAddress": TEXT, "query": TEXT, "threshold": {"pattern": "^[0-9.]+$"}},
            activationThreshold={"type": "string"},
        ),
    },
    metricType={"enum": ["AverageValue", "Value"]},
    authenticationRef=_closed({"name": TEXT}, kind=TEXT),
)
_RULE = _closed(
    {"expr": TEXT},
    record=TEXT,
    alert=TEXT,
    labels=TEXTS,
    annotations=TEXTS,
    **{"for": DURATION, "keep_firing_for": DURATION},
)

SCHEMAS: Final = {
    "ScaledObject": _object(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _closed(
            {
                "scaleTargetRef": _closed({"name": TEXT}),
                "triggers": {"type": "array", "minItems": 1, "items": _TRIGGER},
            },
            pollingInterval=WHOLE,
            cooldownPeriod=WHOLE,
            minReplicaCount=WHOLE,
            maxReplicaCount=WHOLE,
            advanced={"type": "object"},
        ),
    ),
    "ServiceMonitor": _object(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _closed(
            {
                "selector": _closed({"matchLabels": TEXTS}),
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": _closed({"port": TEXT}, path=TEXT, interval=DURATION),
                },
            },
            namespaceSelector=_closed({"matchNames": {"type": "array", "items": TEXT}}),
        ),
    ),
    "PrometheusRule": _object(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _closed(
            {
                "groups": {
                    "type": "array",
                    "minItems": 1,
                    "items": _closed(
                        {"name": TEXT, "rules": {"type": "array", "items": _RULE}},
                        interval=DURATION,
                    ),
                }
            }
        ),
    ),
}
