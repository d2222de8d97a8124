"""What is wrong with probes and lifecycle hooks of a container."""

import re

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.portvalidation import named_port_causes, port_causes
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required

_NOT_NEGATIVE = "must be greater than or equal to 0"
_PROBE_INTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_HEADER = re.compile(r"[-A-Za-z0-9]+\Z")


def probe_causes(probe: Object, path: str, kind: str) -> list[Cause]:
    """Return what is wrong with a probe; `kind` is its member, e.g. "readinessProbe"."""
    causes = handler_causes(probe, path)
    causes += [
        invalid_value(f"{path}.{name}", probe[name], _NOT_NEGATIVE) for name in _PROBE_INTS if probe.get(name, 0) < 0
    ]
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        causes.append(invalid_value(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if kind == "readinessProbe":
        if grace is not None:
            text = "must not be set for readinessProbes"
            causes.append(invalid_value(f"{path}.terminationGracePeriodSeconds", grace, text))
    elif probe.get("successThreshold", 1) != 1:
        causes.append(invalid_value(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes


def handler_causes(handler: Object, path: str, grace_s: int = 0) -> list[Cause]:
    """Return what is wrong with what a probe or a lifecycle hook does; a hook may sleep no longer than `grace_s`."""
    causes: list[Cause] = []
    count = 0
    for name in ("exec", "httpGet", "tcpSocket", "grpc", "sleep"):
        action = handler.get(name)
        if action is None:
            continue
        count += 1
        if count > 1:
            causes.append(forbidden_field(f"{path}.{name}", "may not specify more than 1 handler type"))
            continue
        causes += _action(name, action, f"{path}.{name}", grace_s)
    if not count:
        causes.append(required(path, "must specify a handler type"))
    return causes


def _action(name: str, action: Object, path: str, grace_s: int) -> list[Cause]:
    causes: list[Cause] = []
    if name == "sleep" and not 0 <= action.get("seconds", 0) <= grace_s:
        text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_s})"
        causes.append(invalid_value(path, action.get("seconds", 0), text))
    if name == "exec" and not action.get("command"):
        causes.append(required(f"{path}.command"))
    if name == "httpGet":
        if not action.get("path"):
            causes.append(required(f"{path}.path"))
        causes += named_port_causes(action.get("port"), f"{path}.port")
        if action.get("scheme") not in {"HTTP", "HTTPS"}:
            causes.append(not_supported(f"{path}.scheme", action.get("scheme"), ("HTTP", "HTTPS")))
        for header in action.get("httpHeaders", ()):
            if not _HEADER.match(header.get("name", "")):
                text = (
                    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', "
                    "regex used for validation is '[-A-Za-z0-9]+')"
                )
                causes.append(invalid_value(f"{path}.httpHeaders", header.get("name", ""), text))
    if name == "tcpSocket":
        causes += named_port_causes(action.get("port"), f"{path}.port")
    if name == "grpc":
        causes += port_causes(f"{path}.port", action.get("port", 0))
    return causes
