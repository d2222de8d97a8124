"""What kubelets trace of pods' starts: `syncPod`, and below it what is asked of the container runtime.

They follow from what a kubelet says of a pod anyway: an event ends a step, and the next one begins. A pod whose kubelet has
no tracing in its configuration costs one look.
"""

from dataclasses import dataclass, field
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.cluster.kubelet.rows import NodeRow
from kubedyno.cluster.kubelet.runs import PodRun
from kubedyno.cluster.tracing import Spans, Tracing

_RUNTIME, _IMAGES = "runtime.v1.RuntimeService/", "runtime.v1.ImageService/"
# Reason of an event → the call that it ends.
_CALLS = {
    "Pulled": _IMAGES + "PullImage", "Created": _RUNTIME + "CreateContainer", "Started": _RUNTIME + "StartContainer",
}  # fmt: skip


@dataclass(slots=True)
class _Begun:
    """A pod that is being started.

    Attributes:
        spans: Where its spans go.
        span: Its syncPod.
        since_s: When the step that is under way began,
        at_s: of each container.
        left: Containers that have not started.
        pulling: Paths of containers whose images are being pulled.
    """

    spans: Spans
    span: Any
    since_s: float
    left: int
    at_s: dict[str, float] = field(default_factory=dict)
    pulling: set[str] = field(default_factory=set)
    sandboxed: bool = False


class PodSpans:
    """The kubelets' spans.

    Args:
        random: Makes ids.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        # By endpoint and rate; None: the extra is missing, which was said once.
        self._spans: dict[Tracing, Spans | None] = {}
        self._pods: dict[str, _Begun] = {}

    def began(self, run: PodRun, now_s: float) -> None:
        """A kubelet has taken a pod."""
        tracing = run.node.config.tracing
        if tracing is None or (spans := self._of(tracing)) is None:
            return
        namespace, _, name = run.key.partition("/")
        about = {
            "k8s.pod.uid": run.uid, "k8s.pod": run.key, "k8s.pod.name": name, "k8s.namespace.name": namespace,
            "k8s.pod.update_type": "create", "k8s.node.name": run.node.name,
        }  # fmt: skip
        span = spans.begin("syncPod", now_s, about)
        if span.is_recording():
            self._pods[run.key] = _Begun(spans, span, now_s, len(run.plan.init) + len(run.plan.containers))

    def _of(self, tracing: Tracing) -> Spans | None:
        if tracing not in self._spans:
            try:
                self._spans[tracing] = Spans(tracing, "kubelet", self._random)
            except KubedynoError as error:
                logger(__name__).warning("%s", error)
                self._spans[tracing] = None
        return self._spans[tracing]

    def said(self, key: str, node: NodeRow, reason: str, path: str, now_s: float) -> None:
        """A kubelet has said something about a pod."""
        pod = self._pods.get(key) if node.config.tracing is not None else None
        if pod is None or reason not in {"Pulling", *_CALLS}:
            return
        if not pod.sandboxed:
            pod.sandboxed = True
            self._call(pod, _RUNTIME + "RunPodSandbox", pod.since_s, now_s, "")
        if reason == "Pulling":
            pod.pulling.add(path)
        elif reason != "Pulled" or path in pod.pulling:
            pod.pulling.discard(path)
            self._call(pod, _CALLS[reason], pod.at_s.get(path, now_s), now_s, path)
        pod.at_s[path] = now_s
        if reason == "Started":
            pod.left -= 1
            if not pod.left:
                pod.spans.end(pod.span, now_s)
                del self._pods[key]

    def _call(self, pod: _Begun, name: str, since_s: float, now_s: float, path: str) -> None:
        service, _, method = name.partition("/")
        about = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        container = path.partition("{")[2].rstrip("}")
        if container:
            about["k8s.container.name"] = container
        pod.spans.end(pod.spans.begin(name, since_s, about, above=pod.span), now_s)

    def gone(self, key: str, now_s: float) -> None:
        """A pod is no more: what was begun of it has failed."""
        pod = self._pods.pop(key, None)
        if pod is not None:
            pod.spans.end(pod.span, now_s, "the pod was deleted before it ran")

    def close(self) -> None:
        """Send what is left."""
        for spans in self._spans.values():
            if spans is not None:
                spans.close()
