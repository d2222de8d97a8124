"""The control endpoint: what `kubedyno cluster` asks of a running cluster beside its Kubernetes API.

Under /kubedyno/, for the cluster's admins only: status, StateDB's tables, metrics of the cluster's own parts, and each
kubelet's configuration file and restart.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.times import human_duration
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.assembly.controlmodules import Modules
from kubedyno.cluster.assembly.controltables import Tables
from kubedyno.cluster.kubelet.nodes import Nodes
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.settings import MAX_NODES, ClusterSettings, NodeSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.http.messages import Request, Responder
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.kube.resources import NODES, PODS
from kubedyno.kube.status import BadRequest, Forbidden, MethodNotAllowed, NotFound
from kubedyno.statedb import metrics

ROOT = "/kubedyno/"
_ADMINS = "system:masters"
_YAML = "application/yaml"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body or b"{}")
    except ValueError as error:
        raise ValueError(f"the request is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("the request is no JSON object")  # noqa: TRY004 - about what came, not about a type of ours
    return found


def _told(body: bytes, name: str) -> str:
    """Return a text of a request, "" when it has none."""
    return str(_object(body).get(name, ""))


class Control:
    """Answers the control endpoint.

    Args:
        settings: Of the cluster.
        store: What there is.
        nodes: The kubelets.
        clock: For the uptime.
        pump: Where the parts run whose health is told.
    """

    def __init__(self, settings: ClusterSettings, store: Store, nodes: Nodes, clock: Clock, pump: Pump) -> None:
        self._settings = settings
        self._store = store
        self._nodes = nodes
        self._clock = clock
        # What answers below a first part of the path, beside what is here; gets the parts after it.
        self.more: dict[str, Callable[[Request, Responder, list[str]], None]] = {}
        self._started_s = clock.monotonic()
        self._modules = Modules(clock, pump)
        self._tables = Tables(store, self._modules)

    def __call__(self, request: Request, responder: Responder, user: User) -> bool:
        """Answer a request under /kubedyno/; False when the path is none of ours.

        Raises:
            StatusError: The user may not, or there is no such node.
        """
        if not request.path.startswith(ROOT):
            return False
        if _ADMINS not in user.groups:
            raise Forbidden(f'User "{user.name}" cannot use the control endpoint: it is for {_ADMINS}')
        parts = [unquote(part) for part in request.path[len(ROOT) :].strip("/").split("/")]
        if parts == ["status"]:
            self._only(request, "GET")
            responder.send(200, "application/json", orjson.dumps(self.status()))
            return True
        if parts == ["metrics"]:
            self._only(request, "GET")
            responder.send(200, _METRICS, self.metrics().encode())
            return True
        if parts[0] in self.more:
            self.more[parts[0]](request, responder, parts[1:])
            return True
        if parts[0] == "statedb":
            self._only(request, "GET")
            return self._tables.answer(request, responder, parts[1:])
        if len(parts) in {3, 4} and parts[0] == "nodes" and parts[2] == "kubelet":
            self._kubelet(request, responder, parts[1], parts[3] if len(parts) == 4 else "")
            return True
        if len(parts) in {2, 3} and parts[0] == "nodes":
            self._node(request, responder, parts[1], parts[2] if len(parts) == 3 else "")
            return True
        return False

    def _only(self, request: Request, *methods: str) -> None:
        if request.method not in methods:
            raise MethodNotAllowed(f"{request.path} takes {', '.join(methods)} only, not {request.method}")

    def _kubelet(self, request: Request, responder: Responder, node: str, action: str) -> None:
        nodes = self._nodes
        try:
            if action == "config":
                self._only(request, "GET", "PUT")
                if request.method == "PUT":
                    try:
                        text = request.body.decode()
                    except UnicodeDecodeError as error:
                        raise BadRequest(f"the file is no UTF-8 text: {error}") from error
                    nodes.write_config(node, text)
                    responder.send(200, "application/json", b"{}")
                else:
                    responder.send(200, _YAML, nodes.config_text(node).encode())
            elif action in {"", "restart"}:
                self._only(request, "POST" if action else "GET")
                status = nodes.restart(node) if action else nodes.status(node)
                responder.send(200, "application/json", orjson.dumps(status))
            else:
                raise NotFound(f"there is no {request.path}")
        except KeyError:
            raise self._no_node(node) from None

    def _no_node(self, node: str) -> NotFound:
        known = self._nodes.names()
        listed = ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "")
        return NotFound(f"there is no node {node}; nodes are: {listed}")

    def _node(self, request: Request, responder: Responder, node: str, action: str) -> None:
        """Do something to a node's machine: PUT adds one, DELETE takes it away, POST to a verb of it does that."""
        machines = self._nodes.machines
        try:
            if not action:
                self._only(request, "PUT", "DELETE")
                if request.method == "PUT":
                    self._add(node, request.body)
                else:
                    machines.remove(node)
            else:
                self._only(request, "POST")
                verbs: dict[str, Callable[[], None]] = {
                    "kill": lambda: machines.kill(node),
                    "start": lambda: machines.start(node),
                    "shutdown": lambda: machines.shut_down(node),
                    "not-ready": lambda: machines.not_ready(node, _told(request.body, "why")),
                    "ready": lambda: machines.ready(node),
                    "pressure": lambda: machines.pressure(node, _told(request.body, "what")),
                }
                if action not in verbs:
                    raise NotFound(f"there is no {request.path}; verbs are: {', '.join(verbs)}")
                verbs[action]()
        except KeyError:
            raise self._no_node(node) from None
        except ValueError as error:
            raise BadRequest(str(error)) from error
        responder.send(200, "application/json", b"{}")

    def _add(self, node: str, body: bytes) -> None:
        if len(self._nodes.names()) >= MAX_NODES:
            raise ValueError(f"a cluster has at most {MAX_NODES} nodes")
        if problems := problems_of_dns1123_subdomain(node):
            raise ValueError(f"{node}: {problems[0]}")
        labels = _object(body).get("labels", {})
        if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
            raise ValueError("labels: must map names to texts")
        self._nodes.add(NodeSettings(node, labels=tuple(labels.items())), later=True)

    def status(self) -> dict[str, Any]:
        """Return what `kubedyno cluster status` shows."""
        pods = self._store.table(PODS)
        phases = Counter(record.obj.facts.phase for record in pods.all())
        nodes = []
        for record in self._store.table(NODES).all():
            facts, name = record.obj.facts, record.obj.name
            entry: dict[str, Any] = {
                "name": name,
                "state": "Ready" if facts.ready else "NotReady",
                "pods": f"{pods.index_count('node', name)}/{facts.pods}",
                "podCIDR": facts.pod_cidr or "none",
            }
            try:
                entry["kubelet"] = self._nodes.status(name).get("state", "unknown")
            except KeyError:
                entry["kubelet"] = "none"
            nodes.append(entry)
        return {
            "name": self._settings.name,
            "kubernetes": self._settings.git_version,
            "uptime": human_duration(self._clock.monotonic() - self._started_s),
            "revision": self._store.revision,
            "pods": dict(sorted(phases.items())),
            "nodes": nodes,
            "health": {"modules": self._modules.summary(), "troubles": self._modules.troubles()},
        }

    def metrics(self) -> str:
        """Return the figures of StateDB and of the reconcilers as Prometheus reads them, under Cilium's names."""
        return metrics.text(metrics.samples(self._store.db)) + metrics.text(self._modules.samples(), "")
