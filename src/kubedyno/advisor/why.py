"""Why pods do not run: every such pod is put to one cause, and each cause says what to change.

`explain` is pure. The causes are tried in the order of `_CAUSES`, the most specific first; a pod that fits none
is "starting" when it may still get there by itself.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kubedyno.advisor.facts import ClusterFacts, Json
from kubedyno.advisor.walls import NodeFill, condition, mask_for, next_wall, node_fills

EXAMPLES = 3
# How many pods a new maxPods should leave room for beyond those that wait now.
_HEADROOM = 1.25
# A PodCIDR cannot be changed later, and an address that is free at once again may still be routed to its last pod:
# twice as many as pods, the rule that 110 pods on a /24 follow too.
_ADDRESSES_PER_POD = 2
_UNAVAILABLE = re.compile(r"^(\d+)/(\d+) nodes are available: (.*?)\.(?: (.*))?$", re.DOTALL)
_REASON = re.compile(r", (?=\d+ )")
# What the node lifecycle controller puts on a node for as long as it is not Ready; nobody else should take them off.
_NOT_READY_TAINTS = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})
_NO_ADDRESS = re.compile(r"no IP addresses available in range set: ([\d.]+-[\d.]+)|No more IPs available|range is full")


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause and the pods that it holds up.

    Attributes:
        cause: Stable id, e.g. "max-pods".
        title: One line for a person.
        pods: "namespace/name" of all pods concerned, sorted.
        evidence: What was seen, word for word where it is a message.
        remedy: What to change: exact settings and commands, in order.
        next_wall: What would stop the pods after that, "" when not known.
        permanent: Nothing changes by itself: waiting longer does not help.
    """

    cause: str
    title: str
    pods: tuple[str, ...]
    evidence: tuple[str, ...]
    remedy: tuple[str, ...]
    next_wall: str = ""
    permanent: bool = True

    def lines(self) -> list[str]:
        """Return the finding as text lines, the title first, the others indented."""
        shown = ", ".join(self.pods[:EXAMPLES]) + (
            f", … ({len(self.pods)} in all)" if len(self.pods) > EXAMPLES else ""
        )
        return [
            self.title,
            f"  pods: {shown}" if self.pods else "  pods: none yet",
            *(f"  seen: {line}" for line in self.evidence),
            *(f"  do: {line}" for line in self.remedy),
            *([f"  next wall: {self.next_wall}"] if self.next_wall else []),
        ]


@dataclass(frozen=True, slots=True)
class _Case:
    """One pod with what the causes look at."""

    pod: Json
    name: str
    unschedulable: str
    reasons: tuple[str, ...]
    waiting: tuple[str, str]
    event: dict[str, Json]


@dataclass(frozen=True, slots=True)
class _Context:
    facts: ClusterFacts
    fills: dict[str, NodeFill]
    # Names of nodes that lack nothing but a pod network.
    offline: frozenset[str]


def explain(
    facts: ClusterFacts, namespace: str | None = None, concerned: Callable[[Json], bool] | None = None
) -> list[Finding]:
    """Group the pods that do not run by cause.

    Args:
        facts: The cluster at one moment.
        namespace: Only this namespace's pods; None for all.
        concerned: Pod or ReplicaSet → whether it is asked about; None for all. The others still fill their nodes.

    Returns:
        Findings, those that nothing but a change resolves first, then by the number of pods.
    """
    events: dict[str, dict[str, Json]] = {}
    for event in facts.events:
        events.setdefault(event.get("involvedObject", {}).get("uid", ""), {})[event.get("reason", "")] = event
    offline = frozenset(
        node["metadata"]["name"]
        for node in facts.nodes
        if "NetworkReady=false" in condition(node, "Ready").get("message", "")
    )
    context = _Context(facts, {fill.name: fill for fill in node_fills(facts)}, offline)
    groups: dict[tuple[str, str], list[_Case]] = {}
    for pod in facts.pods:
        if namespace is not None and pod["metadata"].get("namespace") != namespace:
            continue
        if concerned is not None and not concerned(pod):
            continue
        if _runs(pod):
            continue
        case = _case(pod, events.get(pod["metadata"].get("uid", ""), {}))
        for cause, matches, _ in _CAUSES:
            group = matches(case, context)
            if group is not None:
                groups.setdefault((cause, group), []).append(case)
                break
    findings = [_BUILDERS[cause](cases, group, context) for (cause, group), cases in groups.items()]
    findings += _never_made(facts, namespace, concerned, events)
    findings += _nodes_not_ready(context, findings)
    findings.sort(key=lambda finding: (not finding.permanent, -len(finding.pods), finding.cause))
    return findings


def stuck(findings: Sequence[Finding]) -> bool:
    """True when there are findings, and none of them resolves itself."""
    return bool(findings) and all(finding.permanent for finding in findings)


def _runs(pod: Json) -> bool:
    phase = pod.get("status", {}).get("phase")
    if phase == "Succeeded" or pod["metadata"].get("deletionTimestamp"):
        return True
    return phase == "Running" and condition(pod, "Ready").get("status") == "True"


def _case(pod: Json, event: dict[str, Json]) -> _Case:
    meta = pod["metadata"]
    scheduled = condition(pod, "PodScheduled")
    message = scheduled.get("message", "") if scheduled.get("status") == "False" else ""
    parsed = _UNAVAILABLE.match(message)
    status = pod.get("status", {})
    waiting = ("", "")
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        state = container.get("state", {}).get("waiting")
        if state and state.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
            waiting = (state["reason"], state.get("message", ""))
            break
    return _Case(
        pod,
        f"{meta.get('namespace', '')}/{meta['name']}",
        message,
        tuple(re.sub(r"^\d+ ", "", reason) for reason in _REASON.split(parsed[3])) if parsed else (),
        waiting,
        event,
    )


def _names(cases: Sequence[_Case]) -> tuple[str, ...]:
    return tuple(sorted(case.name for case in cases))


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _verb(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _kubelet_commands(context: _Context, node: str, setting: str, value: int) -> tuple[str, ...]:
    cluster = context.facts.embedded
    if cluster is not None:
        name = "" if cluster == "kubedyno" else f" --name {cluster}"
        return (f"kubedyno cluster kubelet {node}{name} --set {setting}={value} --restart",)
    return (
        f"on node {node}: set `{setting}: {value}` in /var/lib/kubelet/config.yaml, then `systemctl restart kubelet`",
        "(changing only the kubelet-config ConfigMap changes no node)",
    )


def _round_up(pods: float, step: int = 50) -> int:
    return int(-(-pods // step) * step)


# --- causes: each a matcher (pod → group or None) and a builder (pods → Finding) ---------------------------


def _is_max_pods(case: _Case, _: _Context) -> str | None:
    return "" if case.reasons and "Too many pods" in case.reasons else None


def _max_pods(cases: Sequence[_Case], _: str, context: _Context) -> Finding:
    full = [fill for fill in context.fills.values() if fill.ready and fill.pods >= fill.max_pods]
    evidence = [cases[0].unschedulable]
    evidence += [f"{fill.name}: {fill.pods} pods, maxPods {fill.max_pods}" for fill in full[:EXAMPLES]]
    remedy: tuple[str, ...] = ()
    wall = ""
    if full:
        # All that wait, and a quarter more, spread over the full nodes.
        wanted = _round_up(full[0].max_pods + len(cases) / len(full) * _HEADROOM)
        for fill in full[:EXAMPLES]:
            remedy += _kubelet_commands(context, fill.name, "maxPods", wanted)
        if len(full) > EXAMPLES:
            remedy += (f"the same on {len(full) - EXAMPLES} more full nodes, or add nodes",)
        wall = next_wall(full[0], wanted)
    return Finding(
        "max-pods",
        f"{_pods(len(cases))} cannot be scheduled: every node that could take them holds as many pods as its"
        " kubelet allows (maxPods)",
        _names(cases),
        tuple(evidence),
        remedy,
        wall,
    )


def _is_no_address(case: _Case, _: _Context) -> str | None:
    event = case.event.get("FailedCreatePodSandBox")
    if event is None or not _NO_ADDRESS.search(event.get("message", "")):
        return None
    if case.pod.get("status", {}).get("podIP"):
        return None
    return str(case.pod["spec"].get("nodeName", ""))


def _no_address(cases: Sequence[_Case], node: str, context: _Context) -> Finding:
    message = cases[0].event["FailedCreatePodSandBox"].get("message", "")
    evidence = [re.sub(r'sandbox "[0-9a-f]{20,}"', 'sandbox "…"', message)]
    remedy: tuple[str, ...] = ("delete pods of this node, or add nodes: each brings a PodCIDR of its own",)
    wall = ""
    fill = context.fills.get(node)
    if fill is not None and fill.addresses is not None:
        evidence.append(
            f"{node}: PodCIDR {fill.cidr} has {fill.addresses} addresses for pods, {fill.addressed} in use,"
            f" {fill.wanting} asked for"
        )
        mask = min(mask_for(_ADDRESSES_PER_POD * max(fill.wanting, fill.max_pods)), fill.mask - 1)
        cluster = context.facts.embedded
        where = f"kubedyno cluster up --name {cluster}-{mask} --node-cidr-mask {mask} --max-pods {fill.max_pods}"
        remedy = (
            "a node's PodCIDR is immutable; make a new cluster with larger ones: "
            + (
                f"{where} (and the flags that this one was started with)"
                if cluster is not None
                else f"controller-manager --node-cidr-mask-size={mask} and new nodes"
            ),
            *remedy,
        )
        larger = NodeFill(
            node, fill.ready, fill.pods, fill.max_pods, fill.addressed, fill.wanting,
            f"0.0.0.0/{mask}", 2 ** (32 - mask) - 3,
        )  # fmt: skip
        wall = next_wall(larger, fill.max_pods)
    return Finding(
        "pod-cidr",
        f"{_pods(len(cases))} on {node} {_verb(len(cases), 'gets', 'get')} no sandbox: the node's PodCIDR has no"
        " address left",
        _names(cases),
        tuple(evidence),
        remedy,
        wall,
    )


def _is_node_not_ready(case: _Case, context: _Context) -> str | None:
    if any(taint in reason for reason in case.reasons for taint in _NOT_READY_TAINTS):
        return "taint"
    # From 1.35 on the message names no taint: the nodes do.
    if any("untolerated taint(s)" in reason for reason in case.reasons):
        repelling = {
            taint.get("key")
            for node in context.facts.nodes
            for taint in node.get("spec", {}).get("taints", ())
            if taint.get("effect") != "PreferNoSchedule" and not _tolerates(case.pod, taint)
        }
        if repelling and repelling <= _NOT_READY_TAINTS:
            return "taint"
    return None


def _tolerates(pod: Json, taint: Json) -> bool:
    return any(
        toleration.get("effect", taint.get("effect")) == taint.get("effect")
        and toleration.get("key", taint.get("key")) == taint.get("key")
        and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""))
        for toleration in pod["spec"].get("tolerations", ())
    )


def _node_not_ready(cases: Sequence[_Case], _: str, context: _Context) -> Finding:
    bad = [name for name, fill in context.fills.items() if not fill.ready]
    evidence = [cases[0].unschedulable]
    remedy: list[str] = []
    for node in context.facts.nodes:
        if node["metadata"]["name"] in bad[:EXAMPLES]:
            why, what = _node_trouble(node, context)
            evidence.append(why)
            remedy += [line for line in what if line not in remedy]
    return Finding(
        "node-not-ready",
        f"{_pods(len(cases))} cannot be scheduled: {len(bad)} of {len(context.fills)} nodes NotReady",
        _names(cases),
        tuple(evidence),
        tuple(remedy),
    )


def _node_trouble(node: Json, context: _Context) -> tuple[str, tuple[str, ...]]:
    name = node["metadata"]["name"]
    ready = condition(node, "Ready")
    message = ready.get("message", "")
    why = f"{name}: Ready={ready.get('status', 'absent')}, {ready.get('reason', 'no reason')}: {message}"
    cluster = context.facts.embedded
    if "cni plugin not initialized" in message:
        return why, (
            f"install a CNI: kubedyno cluster up --name {cluster} --cni cilium (or without disableDefaultCNI)"
            if cluster is not None
            else "install a CNI plugin (for example Cilium): the nodes were made without one",
        )
    if cluster is not None:
        flag = "" if cluster == "kubedyno" else f" --name {cluster}"
        return why, (f"look at its kubelet: kubedyno cluster kubelet {name}{flag} --status",)
    return why, (f"on node {name}: systemctl status kubelet; journalctl -u kubelet",)


def _is_insufficient(case: _Case, _: _Context) -> str | None:
    short = sorted(reason for reason in case.reasons if reason.startswith("Insufficient "))
    return ", ".join(short) if short else None


def _insufficient(cases: Sequence[_Case], group: str, context: _Context) -> Finding:
    resources = group.replace("Insufficient ", "")
    evidence = [cases[0].unschedulable]
    for node in context.facts.nodes[:EXAMPLES]:
        allocatable = node.get("status", {}).get("allocatable", {})
        evidence.append(
            f"{node['metadata']['name']}: allocatable cpu {allocatable.get('cpu', '?')}, memory {allocatable.get('memory', '?')}"
        )
    return Finding(
        "insufficient",
        f"{_pods(len(cases))} cannot be scheduled: no node has enough {resources} left",
        _names(cases),
        tuple(evidence),
        (f"lower the pods' requests of {resources}, or add nodes",),
    )


def _is_unschedulable(case: _Case, _: _Context) -> str | None:
    return (case.reasons[0] if case.reasons else case.unschedulable[:80]) if case.unschedulable else None


def _unschedulable(cases: Sequence[_Case], group: str, _: _Context) -> Finding:
    gated = condition(cases[0].pod, "PodScheduled").get("reason") == "SchedulingGated"
    if gated:
        remedy = "remove the pods' spec.schedulingGates"
    elif "untolerated taint" in group:
        remedy = "remove the taint (kubectl taint node NODE KEY-), or give the pods a toleration"
    elif "were unschedulable" in group:
        remedy = "kubectl uncordon NODE"
    elif "affinity" in group or "selector" in group:
        remedy = "label a node so that it matches the pods' nodeSelector or affinity, or change them"
    elif "free ports" in group:
        remedy = "each node gives a hostPort once: use a Service instead, or add nodes"
    else:
        remedy = "change what the message names"
    return Finding(
        "unschedulable",
        f"{_pods(len(cases))} cannot be scheduled: {group}",
        _names(cases),
        (cases[0].unschedulable,),
        (remedy,),
    )


def _is_rejected(case: _Case, _: _Context) -> str | None:
    status = case.pod.get("status", {})
    if status.get("phase") != "Failed":
        return None
    return str(status.get("reason") or "") or next(iter(_ends(case.pod)), "Failed")


def _ends(pod: Json) -> dict[str, str]:
    """Return how containers of a pod ended that did not end well, "REASON, exit code N", and each one's name and message."""
    found: dict[str, str] = {}
    status = pod.get("status", {})
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        end = (container.get("state") or {}).get("terminated") or {}
        if end.get("exitCode"):
            how = f"{end.get('reason') or 'Error'}, exit code {end['exitCode']}"
            found[how] = f"container {container.get('name', '')}: {end.get('message') or how}"
    return found


def _rejected(cases: Sequence[_Case], group: str, _: _Context) -> Finding:
    return Finding(
        "failed",
        f"{_pods(len(cases))} failed: {group}",
        _names(cases),
        tuple(filter(None, (cases[0].pod.get("status", {}).get("message"), *_ends(cases[0].pod).values())))
        or ("no message",),
        ("delete the failed pods: a failed pod never runs again",),
    )


def _is_waiting(case: _Case, _: _Context) -> str | None:
    return case.waiting[0] or None


_IMAGE_REASONS = {
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable",
    "ImageInspectError",
}  # fmt: skip


def _waiting(cases: Sequence[_Case], group: str, _: _Context) -> Finding:
    if group in _IMAGE_REASONS:
        images = sorted({c.get("image", "") for case in cases for c in case.pod["spec"].get("containers", ())})
        remedy = f"check image name, tag and pull secrets: {', '.join(images[:EXAMPLES])}"
        cause = "image-pull"
    elif group == "CrashLoopBackOff":
        remedy = f"kubectl logs --previous -n {cases[0].name.replace('/', ' ')}"
        cause = "crash-loop"
    else:
        remedy = f"kubectl describe pod -n {cases[0].name.replace('/', ' ')}"
        cause = "container-waiting"
    return Finding(
        cause,
        f"{_pods(len(cases))} {_verb(len(cases), 'waits', 'wait')} in {group}",
        _names(cases),
        (cases[0].waiting[1] or group,),
        (remedy,),
    )


def _is_sandbox(case: _Case, _: _Context) -> str | None:
    event = case.event.get("FailedCreatePodSandBox") or case.event.get("FailedMount")
    if event is None or case.pod.get("status", {}).get("podIP"):
        return None
    return str(event.get("reason"))


def _sandbox(cases: Sequence[_Case], group: str, _: _Context) -> Finding:
    return Finding(
        "sandbox",
        f"{_pods(len(cases))} {_verb(len(cases), 'does', 'do')} not start: {group}",
        _names(cases),
        (cases[0].event[group].get("message", ""),),
        ("mend what the message names; the kubelet tries again by itself",),
    )


def _is_bound_to_dead_node(case: _Case, context: _Context) -> str | None:
    node = case.pod["spec"].get("nodeName")
    fill = context.fills.get(node or "")
    if fill is None or fill.ready:
        return None
    if case.pod["spec"].get("hostNetwork") and node in context.offline:
        # It needs no pod network: it starts all the same.
        return None
    return str(node)


def _bound_to_dead_node(cases: Sequence[_Case], node: str, context: _Context) -> Finding:
    why = ""
    remedy: tuple[str, ...] = ("mend the node",)
    for entry in context.facts.nodes:
        if entry["metadata"]["name"] == node:
            why, remedy = _node_trouble(entry, context)
    return Finding(
        "node-not-ready",
        f"{_pods(len(cases))} on {node} {_verb(len(cases), 'does', 'do')} not run: the node is NotReady",
        _names(cases),
        (why,),
        remedy,
    )


def _is_starting(case: _Case, _: _Context) -> str | None:
    return "bound" if case.pod["spec"].get("nodeName") else "queued"


def _starting(cases: Sequence[_Case], group: str, _: _Context) -> Finding:
    node = "its node" if len(cases) == 1 else "their nodes"
    where = f"starting on {node}" if group == "bound" else "waiting for the scheduler"
    return Finding(
        "starting",
        f"{_pods(len(cases))} still {where}",
        _names(cases),
        (),
        ("wait: nothing is wrong so far",),
        permanent=False,
    )


_Matcher = Callable[[_Case, _Context], str | None]
_Builder = Callable[[Sequence[_Case], str, _Context], Finding]
_CAUSES: tuple[tuple[str, _Matcher, _Builder], ...] = (
    ("rejected", _is_rejected, _rejected),
    ("max-pods", _is_max_pods, _max_pods),
    ("node-not-ready", _is_node_not_ready, _node_not_ready),
    ("insufficient", _is_insufficient, _insufficient),
    ("unschedulable", _is_unschedulable, _unschedulable),
    ("bound-to-dead-node", _is_bound_to_dead_node, _bound_to_dead_node),
    ("pod-cidr", _is_no_address, _no_address),
    ("waiting", _is_waiting, _waiting),
    ("sandbox", _is_sandbox, _sandbox),
    ("starting", _is_starting, _starting),
)
_BUILDERS: dict[str, _Builder] = {cause: build for cause, _, build in _CAUSES}


def _never_made(
    facts: ClusterFacts,
    namespace: str | None,
    concerned: Callable[[Json], bool] | None,
    events: dict[str, dict[str, Json]],
) -> list[Finding]:
    """ReplicaSets whose pods were refused by the API: there is no pod to look at."""
    groups: dict[str, list[tuple[str, int]]] = {}
    for replicaset in facts.replicasets:
        meta = replicaset["metadata"]
        if namespace is not None and meta.get("namespace") != namespace:
            continue
        if concerned is not None and not concerned(replicaset):
            continue
        lacking = replicaset.get("spec", {}).get("replicas", 0) - replicaset.get("status", {}).get("replicas", 0)
        event = events.get(meta.get("uid", ""), {}).get("FailedCreate")
        if lacking > 0 and event is not None:
            message = re.sub(r'pods? "[^"]*"', "pod …", event.get("message", ""))
            groups.setdefault(message, []).append((f"{meta.get('namespace')}/{meta['name']}", lacking))
    return [
        Finding(
            "failed-create",
            f"{_pods(sum(n for _, n in sets))} of {len(sets)} ReplicaSets cannot be created",
            (),
            (message, ", ".join(name for name, _ in sets[:EXAMPLES])),
            ("mend what the message names (quota, admission, service account)",),
        )
        for message, sets in groups.items()
    ]


def _nodes_not_ready(context: _Context, findings: Sequence[Finding]) -> list[Finding]:
    """Nodes that are NotReady though no pod waits for them: said all the same."""
    if any(finding.cause == "node-not-ready" for finding in findings):
        return []
    bad = [node for node in context.facts.nodes if not context.fills[node["metadata"]["name"]].ready]
    if not bad:
        return []
    troubles = [_node_trouble(node, context) for node in bad[:EXAMPLES]]
    return [
        Finding(
            "node-not-ready",
            f"{len(bad)} of {len(context.fills)} nodes NotReady",
            (),
            tuple(why for why, _ in troubles),
            tuple(dict.fromkeys(line for _, remedy in troubles for line in remedy)),
        )
    ]
