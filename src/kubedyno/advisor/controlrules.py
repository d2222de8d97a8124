"""Rules on the control plane: limits of the whole, flags, webhooks, priority and fairness, latencies, etcd, old APIs.

Metrics are totals since the API server began: a rule that judges by them says what has been, not what is at this moment.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from kubedyno.advisor.clusterstate import ClusterState
from kubedyno.advisor.components import Labels
from kubedyno.advisor.ruleset import CLUSTER, shown
from kubedyno.advisor.tuning import Advice, Patch
from kubedyno.kube.quantity import value_of

Json = dict[str, Any]
THRESHOLDS = "Kubernetes scalability thresholds and considerations for large clusters"
SLOS = "Kubernetes scalability SLIs and SLOs"
FAIRNESS = "Kubernetes documentation, API Priority and Fairness"
WEBHOOKS = "Kubernetes documentation, Admission Webhook Good Practices"
AUDIT = "Kubernetes documentation, Auditing"
DEPRECATED = "Kubernetes documentation, Deprecated API Migration Guide"
ETCD = "etcd 3.6 documentation, Hardware recommendations and Metrics"
COMPONENTS = "Kubernetes reference, command line tools"
MIB = 2**20
# etcd's default --quota-backend-bytes.
ETCD_QUOTA_B = 2 * 2**30
WAL_FSYNC_P99_S, BACKEND_COMMIT_P99_S = 0.010, 0.025
# Observations below which a quantile of a histogram is not worth a word.
ENOUGH = 100
WEBHOOK_MEAN_S = 0.1
# A cluster of such a size keeps controllers at their default rate busy.
BUSY_PODS = 1_000
STATIC_POD = "edit /etc/kubernetes/manifests/{0}.yaml on each control-plane node: {1}"


@CLUSTER
def cluster_size(state: ClusterState) -> Advice | None:
    """Figures of the cluster against the limits that Kubernetes is tested up to."""
    spaces = Counter(pod["metadata"].get("namespace", "") for pod in state.pods)
    services = Counter(one["metadata"].get("namespace", "") for one in state.services)
    deployments = Counter(one["metadata"].get("namespace", "") for one in state.deployments)
    figures = [
        ("nodes", len(state.nodes), 5_000),
        ("pods", len(state.pods), 150_000),
        ("containers", sum(len(pod["spec"].get("containers") or ()) for pod in state.pods), 300_000),
        ("namespaces", len(state.namespaces), 10_000),
        ("Services", len(state.services), 10_000),
    ]
    for what, counted, limit in (
        ("pods", spaces, 3_000), ("Services", services, 5_000), ("Deployments", deployments, 2_000),
    ):  # fmt: skip
        figures += [(f"{what} in namespace {space}", count, limit) for space, count in counted.most_common(3)]
    over = [f"{count} {what}: the limit is {limit}" for what, count, limit in figures if count > limit]
    near = [f"{count} {what}: the limit is {limit}" for what, count, limit in figures if limit >= count >= 0.8 * limit]
    if not over and not near:
        return None
    return Advice(
        "cluster-size",
        "warning" if over else "note",
        "the cluster is beyond what Kubernetes is tested with" if over else "the cluster is near a tested limit",
        evidence=(*over, *near),
        effect="the SLOs are promised within the limits only; lists, controllers and proxies slow down beyond",
        effect_source=THRESHOLDS,
        applying="workloads move",
        apply=("spread over namespaces, or over more clusters",),
        check=("kubectl get --raw /metrics | grep apiserver_storage_objects",),
        undo=("none needed",),
        source=THRESHOLDS,
    )


_LOCAL = ("127.0.0.1", "localhost", "::1")


@CLUSTER
def bind_addresses(state: ClusterState) -> Advice | None:
    """Metrics of the control plane and kube-proxy that listen on loopback only: Prometheus cannot reach them."""
    found, todo, undo = [], [], []
    for component, flag, wanted in (
        ("kube-controller-manager", "bind-address", "0.0.0.0"),  # noqa: S104 - a flag's value
        ("kube-scheduler", "bind-address", "0.0.0.0"),  # noqa: S104 - a flag's value
        ("etcd", "listen-metrics-urls", "http://0.0.0.0:2381"),
    ):
        flags = state.flags(component)
        value = (flags or {}).get(flag, "")
        if (value and any(part.split("//")[-1].rsplit(":", 1)[0] in _LOCAL for part in value.split(",") if part)) or (
            value and value in _LOCAL
        ):
            found.append(f"{component} --{flag}={value}")
        else:
            continue
        todo.append(STATIC_POD.format(component, f"--{flag}={wanted}"))
        undo.append(STATIC_POD.format(component, f"--{flag}={value}"))
    proxy = state.kube_proxy()
    if proxy is not None and str(proxy.get("metricsBindAddress") or "127.0.0.1").rsplit(":", 1)[0] in _LOCAL:
        found.append(
            f"kube-proxy metricsBindAddress: {proxy.get('metricsBindAddress') or '(default: 127.0.0.1:10249)'}"
        )
        todo.append("kubectl -n kube-system edit configmap kube-proxy   # metricsBindAddress: 0.0.0.0:10249")
        undo.append("kubectl -n kube-system edit configmap kube-proxy   # the old metricsBindAddress")
    if not found:
        return None
    return Advice(
        "bind-addresses",
        "improvement",
        f"metrics of {len(found)} components listen on loopback only",
        evidence=tuple(found),
        effect="Prometheus' targets of them are down; with an address of the node, runs get their latencies and queues",
        effect_source="the kind configuration of a cluster with kube-prometheus-stack",
        requires=("a firewall that keeps the ports within the cluster: etcd's metrics ask for no credentials",),
        conflicts=("a policy that control planes open no ports",),
        applying="each component restarts, one by one; kube-proxy: rollout restart of its DaemonSet",
        apply=tuple(todo),
        check=("kubectl -n kube-system get pods -o yaml | grep -E 'bind-address|listen-metrics'",),
        undo=tuple(undo),
        source=COMPONENTS,
    )


@CLUSTER
def controller_rates(state: ClusterState) -> Advice | None:
    """Controllers at their default client rate on a cluster that keeps them busy."""
    flags = state.flags("kube-controller-manager")
    if flags is None or (len(state.pods) < BUSY_PODS and len(state.nodes) < 100):
        return None
    qps, burst = flags.get("kube-api-qps", "20"), flags.get("kube-api-burst", "30")
    if value_of(qps) > 20:
        return None
    said = "" if "kube-api-qps" in flags else " (defaults)"
    return Advice(
        "controller-rates",
        "improvement",
        f"controllers of {len(state.pods)} pods share {qps} requests a second",
        evidence=(
            f"kube-controller-manager --kube-api-qps={qps} --kube-api-burst={burst}{said}",
            f"{len(state.nodes)} nodes, {len(state.pods)} pods",
        ),
        effect="each controller makes at most that many objects a second: 1,000 pods of a Deployment take 50 s at 20",
        effect_source=f"{COMPONENTS}: each controller's client has this rate",
        requires=("an API server with room: see priority-and-fairness and api-latency",),
        conflicts=("small control planes: more writes at once",),
        applying="the controller manager restarts; another one leads",
        apply=(STATIC_POD.format("kube-controller-manager", "--kube-api-qps=100 --kube-api-burst=200"),),
        check=("kubectl -n kube-system get pod -l component=kube-controller-manager -o yaml | grep kube-api",),
        undo=(STATIC_POD.format("kube-controller-manager", f"--kube-api-qps={qps} --kube-api-burst={burst}"),),
        source=COMPONENTS,
    )


@CLUSTER
def audit_blocking(state: ClusterState) -> Advice | None:
    """Audit logs that each request waits for."""
    flags = state.flags("kube-apiserver")
    if flags is None or "audit-policy-file" not in flags:
        return None
    found = []
    if "audit-log-path" in flags and flags.get("audit-log-mode", "blocking") != "batch":
        found.append(f"--audit-log-mode={flags.get('audit-log-mode', 'blocking (default)')}")
    if flags.get("audit-webhook-mode", "batch") != "batch":
        found.append(f"--audit-webhook-mode={flags['audit-webhook-mode']}")
    if not found:
        return None
    return Advice(
        "audit-blocking",
        "improvement",
        "API requests wait for the audit backend",
        evidence=tuple(found),
        effect="a slow disk or webhook is part of each request's latency; in batches it is not",
        effect_source=AUDIT,
        conflicts=("rules that no event may be lost: a crash loses a batch",),
        applying="the API server restarts",
        apply=(STATIC_POD.format("kube-apiserver", "--audit-log-mode=batch --audit-webhook-mode=batch"),),
        check=("kubectl get --raw /metrics | grep apiserver_audit_event_total",),
        undo=(STATIC_POD.format("kube-apiserver", " ".join(found).replace(" (default)", "")),),
        source=AUDIT,
    )


# --- webhooks -----------------------------------------------------------------------------------------------------


def _hooks(state: ClusterState) -> Iterator[tuple[Json, int, Json]]:
    for configuration in state.webhooks:
        for index, hook in enumerate(configuration.get("webhooks") or ()):
            yield configuration, index, hook


def _must(hook: Json) -> bool:
    return bool(hook.get("failurePolicy", "Fail") == "Fail")


def _label(configuration: Json, hook: Json) -> str:
    return f"{configuration['kind']} {configuration['metadata']['name']}: {hook['name']}"


@CLUSTER
def webhook_scope(state: ClusterState) -> Advice | None:
    """Webhooks that must answer for everything, the system's own pods and leases included."""
    found = []
    for configuration, _, hook in _hooks(state):
        wide = [
            rule
            for rule in hook.get("rules") or ()
            if {"*", "*/*", "pods", "leases"} & set(rule.get("resources") or ())
        ]
        free = not hook.get("namespaceSelector") and not hook.get("objectSelector") and not hook.get("matchConditions")
        if wide and free and _must(hook):
            found.append(f"{_label(configuration, hook)}: no selector, failurePolicy Fail")
    if not found:
        return None
    return Advice(
        "webhook-scope",
        "warning",
        f"{len(found)} webhooks must answer for pods or leases of every namespace",
        evidence=shown(found),
        effect="when it is down nothing starts, its own pods included; its latency is part of each such request",
        effect_source=WEBHOOKS,
        requires=("a namespaceSelector that leaves kube-system and its own namespace out",),
        applying="at once, for new requests",
        apply=("kubectl edit KIND NAME   # namespaceSelector: matchExpressions on kubernetes.io/metadata.name NotIn",),
        check=("kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o yaml",),
        undo=("kubectl edit KIND NAME   # take the selector out",),
        source=WEBHOOKS,
        ready=False,
    )


@CLUSTER
def webhook_timeout(state: ClusterState) -> Advice | None:
    """Webhooks that hold a request for ten seconds and more before they fail it."""
    found, patches = [], []
    for configuration, index, hook in _hooks(state):
        timeout_s = int(hook.get("timeoutSeconds", 10))
        if timeout_s < 10 or not _must(hook):
            continue
        found.append(f"{_label(configuration, hook)}: timeoutSeconds {timeout_s}")
        name = configuration["metadata"]["name"]
        kind = configuration["kind"].lower()
        place = f"/webhooks/{index}/timeoutSeconds"
        patches.append(
            Patch(
                f"{kind}/{name}",
                "",
                f"/apis/admissionregistration.k8s.io/v1/{kind}s/{name}",
                ({"op": "replace", "path": place, "value": 5},),
                ({"op": "replace", "path": place, "value": timeout_s},),
            )
        )
    if not found:
        return None
    return Advice(
        "webhook-timeout",
        "improvement",
        f"{len(found)} webhooks may hold a request for 10 s or more",
        evidence=shown(found),
        effect="requests in flight pile up behind a webhook that hangs; the SLO for a write is 1 s",
        effect_source=f"{WEBHOOKS}; {SLOS}",
        conflicts=("a webhook that really takes longer: its requests then fail",),
        applying="at once, for new requests; an operator that owns the configuration may set it back",
        check=(
            "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o yaml | grep timeoutSeconds",
        ),
        source=WEBHOOKS,
        patches=tuple(patches),
    )


@CLUSTER
def webhook_backend(state: ClusterState) -> Advice | None:
    """Webhooks whose Service has no endpoint that is ready: what they match fails."""
    ready = set()
    for one in state.slices:
        name = (one["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
        if any((end.get("conditions") or {}).get("ready") is not False for end in one.get("endpoints") or ()):
            ready.add((one["metadata"].get("namespace"), name))
    found = []
    for configuration, _, hook in _hooks(state):
        service = (hook.get("clientConfig") or {}).get("service")
        if service and (service["namespace"], service["name"]) not in ready and _must(hook):
            found.append(f"{_label(configuration, hook)}: Service {service['namespace']}/{service['name']}")
    if not found or any(line.startswith("endpoint slices") for line in state.missing):
        return None
    return Advice(
        "webhook-backend",
        "error",
        f"{len(found)} webhooks must answer and have no ready endpoint",
        evidence=shown(found),
        effect="each request that they match fails: failed calling webhook",
        effect_source=WEBHOOKS,
        applying="at once",
        apply=("mend the Service's pods, or delete the configuration when its owner is gone",),
        check=("kubectl -n NS get endpointslices -l kubernetes.io/service-name=NAME",),
        undo=("kubectl apply -f of the saved configuration",),
        source=WEBHOOKS,
    )


@CLUSTER
def webhook_latency(state: ClusterState) -> Advice | None:
    """Webhooks that took long by the API server's own account."""
    family = "apiserver_admission_webhook_admission_duration_seconds"
    sums, counts = (state.metrics.sums(f"{family}_{part}", "name") for part in ("sum", "count"))
    found = [
        f"{name[0]}: {sums.get(name, 0.0) / count * 1000:.0f} ms on average of {count:.0f} calls"
        for name, count in sorted(counts.items())
        if count >= ENOUGH and sums.get(name, 0.0) / count > WEBHOOK_MEAN_S
    ]
    if not found:
        return None
    return Advice(
        "webhook-latency",
        "warning",
        f"{len(found)} webhooks take more than {WEBHOOK_MEAN_S * 1000:.0f} ms",
        evidence=shown(found),
        effect="that much of each write's latency; mutating ones run one after another",
        effect_source=f"{WEBHOOKS}; since the API server began",
        applying="restart of the webhook's pods",
        apply=("more replicas or CPU for it, narrower rules, or a ValidatingAdmissionPolicy instead",),
        check=(f"kubectl get --raw /metrics | grep {family}_sum",),
        undo=("put its replicas back",),
        source=WEBHOOKS,
    )


# --- priority and fairness, latencies, old APIs -------------------------------------------------------------------


@CLUSTER
def priority_and_fairness(state: ClusterState) -> Advice | None:
    """Requests that were turned away with 429."""
    found = state.metrics.sums(
        "apiserver_flowcontrol_rejected_requests_total", "priority_level", "flow_schema", "reason"
    )
    if not found:
        return None
    worst = sorted(found.items(), key=lambda entry: -entry[1])
    flags = state.flags("kube-apiserver") or {}
    limits = tuple(
        f"kube-apiserver --{flag}={flags.get(flag, default)}"
        for flag, default in (("max-requests-inflight", "400"), ("max-mutating-requests-inflight", "200"))
    )
    return Advice(
        "priority-and-fairness",
        "warning",
        f"the API server has turned away {sum(found.values()):.0f} requests",
        evidence=(
            *shown([f"{level}, {schema}: {count:.0f} ({reason})" for (level, schema, reason), count in worst]),
            *(limits if flags else ()),
        ),
        effect="clients wait and try again: their rate is what the priority level has seats for",
        effect_source=f"{FAIRNESS}; since the API server began",
        requires=("CPU and memory of the API server for more at once",),
        applying="at once for priority levels; flags: the API server restarts",
        apply=(
            "kubectl edit prioritylevelconfiguration LEVEL   # nominalConcurrencyShares, queues, queueLengthLimit",
            "or a FlowSchema that gives the load a level of its own",
        ),
        check=("kubectl get --raw /debug/api_priority_and_fairness/dump_priority_levels",),
        undo=("kubectl edit prioritylevelconfiguration LEVEL   # the old figures",),
        source=FAIRNESS,
        ready=False,
    )


@CLUSTER
def flow_schemas(state: ClusterState) -> Advice | None:
    """Flow schemas that name no priority level, or an API server without fairness."""
    if state.flow_schemas is None:
        flags = state.flags("kube-apiserver") or {}
        if flags.get("enable-priority-and-fairness") != "false":
            return None
        found = ["kube-apiserver --enable-priority-and-fairness=false"]
    else:
        found = [
            f"FlowSchema {schema['metadata']['name']}: {one.get('message') or 'its priority level does not exist'}"
            for schema in state.flow_schemas
            for one in (schema.get("status") or {}).get("conditions") or ()
            if one.get("type") == "Dangling" and one.get("status") == "True"
        ]
    if not found:
        return None
    return Advice(
        "flow-schemas",
        "warning",
        "requests are not sorted into the priority levels that were meant",
        evidence=shown(found),
        effect="one busy client takes the seats of all; the schema's requests fall to the next that matches",
        effect_source=FAIRNESS,
        applying="at once",
        apply=("kubectl create the missing PriorityLevelConfiguration, or kubectl delete flowschema NAME",),
        check=("kubectl get flowschemas   # column MISSINGPL",),
        undo=("kubectl apply -f of the saved schema",),
        source=FAIRNESS,
    )


def _limit_s(labels: Labels) -> float:
    """Return the SLO of a request, seconds: 1 for what touches one object, 30 for lists of many."""
    return 30.0 if labels.get("scope") in {"namespace", "cluster"} and labels.get("verb") == "LIST" else 1.0


@CLUSTER
def api_latency(state: ClusterState) -> Advice | None:
    """API calls whose 99th percentile is beyond the SLO."""

    def counts(labels: Labels) -> bool:
        return labels.get("verb") not in {"WATCH", "WATCHLIST", "CONNECT"} and labels.get("subresource", "") not in {
            "log", "exec", "portforward", "attach", "proxy",
        }  # fmt: skip

    by = ("verb", "scope", "group", "resource")
    found = []
    for key, (p99, count) in state.metrics.quantiles(
        "apiserver_request_duration_seconds", 0.99, *by, keep=counts
    ).items():
        labels = dict(zip(by, key, strict=True))
        if count >= ENOUGH and p99 > _limit_s(labels):
            found.append((p99 / _limit_s(labels), f"{key[0]} {key[3]} ({key[1]}): P99 {p99:.2f} s of {count}"))
    if not found:
        return None
    lines = [line for _, line in sorted(found, reverse=True)]
    return Advice(
        "api-latency",
        "warning",
        f"{len(found)} kinds of API calls miss the SLO",
        evidence=shown(lines),
        effect="1 s for calls of one object, 30 s for lists is what clients may expect",
        effect_source=f"{SLOS}; since the API server began",
        applying="depends on the cause",
        apply=("look at etcd-latency, webhook-latency and priority-and-fairness first", "then at who lists so much"),
        check=("kubectl get --raw /metrics | grep apiserver_request_duration_seconds_bucket",),
        undo=("none needed",),
        source=SLOS,
    )


@CLUSTER
def deprecated_apis(state: ClusterState) -> Advice | None:
    """Deprecated APIs that someone asks for."""
    found, soon = [], False
    by = ("group", "version", "resource", "removed_release")
    for (group, version, resource, removed), _ in sorted(
        state.metrics.sums("apiserver_requested_deprecated_apis", *by).items()
    ):
        name = f"{group}/{version}" if group else version
        found.append(f"{name} {resource}" + (f": gone in {removed}" if removed else ": no removal announced"))
        major, _, minor = removed.partition(".")
        soon = soon or (minor.isdigit() and (int(major), int(minor)) == (state.version[0], state.version[1] + 1))
    if not found:
        return None
    return Advice(
        "deprecated-apis",
        "error" if soon else "warning",
        f"{len(found)} deprecated APIs are in use" + (", and the next release lacks one" if soon else ""),
        evidence=shown(found),
        effect="after the upgrade those clients fail; Endpoints: they are truncated at 1,000 addresses",
        effect_source=f"{DEPRECATED}; since the API server began",
        applying="clients change, one by one",
        apply=("find who asks: the audit log's annotation k8s.io/deprecated", "kubedyno migrate endpoints --find PATH"),
        check=("kubectl get --raw /metrics | grep apiserver_requested_deprecated_apis",),
        undo=("the old client",),
        source=DEPRECATED,
    )


# --- etcd ---------------------------------------------------------------------------------------------------------


@CLUSTER
def etcd_size(state: ClusterState) -> Advice | None:
    """The file of etcd against its quota, and how much of it is free."""
    total_b = max((value for _, value in state.etcd.samples("etcd_mvcc_db_total_size_in_bytes")), default=0.0)
    used_b = max((value for _, value in state.etcd.samples("etcd_mvcc_db_total_size_in_use_in_bytes")), default=total_b)
    if not total_b:
        total_b = max((value for _, value in state.metrics.samples("apiserver_storage_size_bytes")), default=0.0)
        used_b = total_b
    quota_b = max((value for _, value in state.etcd.samples("etcd_server_quota_backend_bytes")), default=0.0)
    flags = state.flags("etcd") or {}
    quota_b = quota_b or float(flags.get("quota-backend-bytes", 0)) or ETCD_QUOTA_B
    full = total_b >= 0.8 * quota_b
    holes = total_b >= 100 * MIB and used_b < 0.5 * total_b
    if not full and not holes:
        return None
    return Advice(
        "etcd-size",
        "error" if full else "improvement",
        f"etcd's database fills {total_b / quota_b * 100:.0f} % of its quota"
        if full
        else f"{(1 - used_b / total_b) * 100:.0f} % of etcd's database is free space",
        evidence=(
            f"database {total_b / MIB:.0f} MiB, in use {used_b / MIB:.0f} MiB",
            f"quota {quota_b / MIB:.0f} MiB",
        ),
        effect="at the quota etcd raises NOSPACE and takes no more writes; defragmentation gives free space back",
        effect_source=ETCD,
        requires=("a snapshot first",),
        applying="each member answers nothing while it is defragmented: one after another",
        apply=("etcdctl snapshot save backup.db", "etcdctl defrag --endpoints=MEMBER"),
        check=("etcdctl endpoint status --cluster -w table",),
        undo=("etcdutl snapshot restore backup.db",),
        source=ETCD,
    )


@CLUSTER
def etcd_latency(state: ClusterState) -> Advice | None:
    """A disk that is too slow for etcd's log."""
    found = []
    for family, limit_s in (
        ("etcd_disk_wal_fsync_duration_seconds", WAL_FSYNC_P99_S),
        ("etcd_disk_backend_commit_duration_seconds", BACKEND_COMMIT_P99_S),
    ):
        for p99, count in state.etcd.quantiles(family, 0.99).values():
            if count >= ENOUGH and p99 > limit_s:
                found.append(f"{family}: P99 {p99 * 1000:.1f} ms of {count}, should be below {limit_s * 1000:.0f} ms")
    if not state.etcd.families:
        # From outside: the API server's own clock, with network and queues in it.
        for (operation,), (p99, count) in state.metrics.quantiles(
            "etcd_request_duration_seconds", 0.99, "operation"
        ).items():
            if count >= ENOUGH and p99 > 0.1 and operation not in {"list", "listWithCount"}:
                found.append(f"etcd_request_duration_seconds, {operation}: P99 {p99 * 1000:.0f} ms of {count}")
    if not found:
        return None
    return Advice(
        "etcd-latency",
        "warning",
        "etcd's disk is slow",
        evidence=shown(found),
        effect="each write of the API waits for it; leaders change when heartbeats are late",
        effect_source=f"{ETCD}; since it began",
        applying="a member is moved to another disk, one after another",
        apply=("a local SSD of its own for /var/lib/etcd", "events in an etcd of their own: --etcd-servers-overrides"),
        check=("etcdctl check perf",),
        undo=("move the member back",),
        source=ETCD,
    )


@CLUSTER
def endpoints_truncated(state: ClusterState) -> Advice | None:
    """Services whose Endpoints object is cut off at 1,000 addresses."""
    found = [
        f"{namespace}/{name}: {ends} endpoints"
        for (namespace, name), (ends, _) in sorted(state.endpoints().items())
        if ends > 1_000
    ]
    if not found:
        return None
    return Advice(
        "endpoints-truncated",
        "warning",
        f"{len(found)} Services have more endpoints than an Endpoints object holds",
        evidence=shown(found),
        effect="clients of v1 Endpoints see 1,000 of them (annotation endpoints.kubernetes.io/over-capacity: truncated)",
        effect_source="Kubernetes documentation, Service: over-capacity endpoints",
        applying="clients change, one by one",
        apply=("kubedyno migrate endpoints --find PATH",),
        check=("kubectl get endpoints -A -o yaml | grep over-capacity",),
        undo=("the old client",),
        source="Kubernetes documentation, Service: over-capacity endpoints",
    )
