"""The page: every object's samples, one family after another.

What an object says is kept as text by its revision, so that a page costs what has changed since the last one.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from kubedyno.base import aio
from kubedyno.cluster.apiserver.kubestate import configuration, jobs, network, nodes, pods, storage, workloads
from kubedyno.cluster.apiserver.kubestate.samples import Object, Samples
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import (
    AUTOSCALERS,
    CERTIFICATESIGNINGREQUESTS,
    CLAIMS,
    CONFIGMAPS,
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    DISRUPTIONBUDGETS,
    ENDPOINTSLICES,
    INGRESSES,
    JOBS,
    LEASES,
    LIMITRANGES,
    NAMESPACES,
    NETWORKPOLICIES,
    NODES,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    SECRETS,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
    VOLUMEATTACHMENTS,
    VOLUMES,
    Resource,
)

# Between two turns of others: about a millisecond.
_RECORDS_A_STEP = 32
_COUNTERS = frozenset({"kube_pod_container_status_restarts_total", "kube_pod_init_container_status_restarts_total"})
_WITH_UID = frozenset({PODS, SERVICES})
_WITHOUT_CREATION = frozenset({LEASES})
# Kind → its label, where that is not its name; and what says what there is of one.
_KINDS: dict[Resource, tuple[str, Callable[[Samples, Object, Object], None]]] = {
    NODES: ("", nodes.node),
    NAMESPACES: ("", configuration.namespace),
    CONFIGMAPS: ("", configuration.config_map),
    SECRETS: ("", configuration.secret),
    RESOURCEQUOTAS: ("", configuration.quota),
    LIMITRANGES: ("", configuration.limit_range),
    DISRUPTIONBUDGETS: ("", configuration.budget),
    AUTOSCALERS: ("", configuration.autoscaler),
    LEASES: ("", configuration.lease),
    CERTIFICATESIGNINGREQUESTS: ("", configuration.signing_request),
    SERVICES: ("", network.service),
    ENDPOINTSLICES: ("", network.endpoint_slice),
    INGRESSES: ("", network.ingress),
    NETWORKPOLICIES: ("", network.network_policy),
    DEPLOYMENTS: ("", workloads.deployment),
    REPLICASETS: ("", workloads.replica_set),
    REPLICATIONCONTROLLERS: ("", workloads.replication_controller),
    STATEFULSETS: ("", workloads.stateful_set),
    DAEMONSETS: ("", workloads.daemon_set),
    JOBS: ("job_name", jobs.job),
    CRONJOBS: ("", jobs.cron_job),
    CLAIMS: ("", storage.claim),
    VOLUMES: ("", storage.volume),
    STORAGECLASSES: ("", storage.storage_class),
    VOLUMEATTACHMENTS: ("", storage.attachment),
    PODS: ("", pods.pod),
}


class KubeState:
    """Makes kube-state-metrics' page.

    Args:
        store: The objects.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # Of each kind, by key: an object's revision and its lines by family.
        self._known: dict[Resource, dict[str, tuple[int, dict[str, str]]]] = {kind: {} for kind in _KINDS}

    async def page(self) -> AsyncIterator[bytes]:
        """Yield the page piece by piece; lets others run in between."""
        for resource in _KINDS:
            async for piece in self._of_kind(resource):
                yield piece

    async def _of_kind(self, resource: Resource) -> AsyncIterator[bytes]:
        records = self._store.list(resource)
        known = self._known[resource]
        if len(known) > 2 * len(records) + 1000:
            known.clear()
        # Families in the order in which they are first met.
        families: dict[str, list[str]] = {}
        async for record in in_turns(records):
            entry = known.get(record.key)
            if entry is None or entry[0] != record.revision:
                entry = known[record.key] = (record.revision, self._lines(resource, record))
            for family, text in entry[1].items():
                found = families.get(family)
                if found is None:
                    families[family] = [text]
                else:
                    found.append(text)
        for family, texts in families.items():
            about = family.removeprefix("kube_").replace("_", " ")
            sort = "counter" if family in _COUNTERS else "gauge"
            yield f"# HELP {family} {about}\n# TYPE {family} {sort}\n{''.join(texts)}".encode()
            await aio.sleep(0)

    def _lines(self, resource: Resource, record: ObjectRecord) -> dict[str, str]:
        label, say = _KINDS[resource]
        obj = self._store.encode_dict(resource, record)
        meta = obj["metadata"]
        of = {"namespace": meta["namespace"]} if resource.namespaced and resource is not LEASES else {}
        of[label or resource.singular] = meta["name"]
        if resource in _WITH_UID:
            of["uid"] = meta["uid"]
        if resource is CERTIFICATESIGNINGREQUESTS:
            of["signer_name"] = obj["spec"]["signerName"]
        samples = Samples(**of)
        if resource not in _WITHOUT_CREATION:
            samples.times(f"kube_{resource.singular}_", meta, created="creationTimestamp")
        say(samples, meta, obj)
        return {family: "".join(lines) for family, lines in samples.lines.items()}


async def in_turns(records: Sequence[ObjectRecord]) -> AsyncIterator[ObjectRecord]:
    """Yield records and let others run every so often."""
    for count, record in enumerate(records, 1):
        yield record
        if count % _RECORDS_A_STEP == 0:
            await aio.sleep(0)
