"""What `$(NAME)` in a mount's subPathExpr stands for: plain variables of the container, and fields of its pod."""

import re

from kubedyno.cluster.kubelet.runs import PodRun

# `$$` is a dollar sign; anything else stays as it is (third_party/forked/golang/expansion).
_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")


def expanded(run: PodRun, text: str, variables: tuple[tuple[str, str, str], ...]) -> tuple[str, str]:
    """Expand a text.

    Args:
        run: The pod.
        text: E.g. "logs/$(POD_NAME)".
        variables: (name, value, field path) of the container's environment, in order.

    Returns:
        The text, and the first variable that there is not, "" when all are there.
    """
    known: dict[str, str] = {}
    for name, value, field in variables:
        known[name] = _field(run, field) if field else _REFERENCE.sub(lambda m: _value(m, known, m[0]), value)
    missing = next((m[1] for m in _REFERENCE.finditer(text) if m[0] != "$$" and m[1] not in known), "")
    return _REFERENCE.sub(lambda m: _value(m, known, ""), text), missing


def _value(match: re.Match[str], known: dict[str, str], otherwise: str) -> str:
    return "$" if match[0] == "$$" else known.get(match[1], otherwise)


def _field(run: PodRun, path: str) -> str:
    namespace, _, name = run.key.partition("/")
    return {
        "metadata.name": name,
        "metadata.namespace": namespace,
        "metadata.uid": run.uid,
        "spec.nodeName": run.node.name,
        "spec.serviceAccountName": run.plan.facts.service_account,
        "status.hostIP": run.node.address,
        "status.podIP": run.address or run.node.address,
    }.get(path, "")
