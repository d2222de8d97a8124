"""The page: every object's samples, one family after another.

What an object says is kept as text by its revision, so that a page costs what has changed since the last one. Of each
family it is kept once for all objects that say the same but for who they are, as pods of one template do; and none of it
when nobody has asked for a while.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from kubedyno.base import aio
from kubedyno.cluster.apiserver.exposition import labels_text
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
# Written out at once: two milliseconds at most.
_OBJECTS_A_PIECE = 500
# Stands for who an object is.
_WHO = "\0"
# For how long what was said is kept after a page.
_KEPT_S = 600.0
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


@dataclass(frozen=True, slots=True)
class _Said:
    """What an object says.

    Attributes:
        revision: Of the object.
        who: The labels that all its samples have.
        places: Family → where its lines are in `templates`.
        templates: Lines, with `_WHO` in the place of `who`.
    """

    revision: int
    who: str
    places: dict[str, int]
    templates: tuple[str, ...]


class KubeState:
    """Makes kube-state-metrics' page.

    Args:
        store: The objects.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Resource, dict[str, _Said]] = {kind: {} for kind in _KINDS}
        # The places of families, once for all objects that have the same: a few a kind.
        self._orders: dict[tuple[str, ...], dict[str, int]] = {}
        self._forgetting: asyncio.TimerHandle | None = None

    async def page(self) -> AsyncIterator[bytes]:
        """Yield the page piece by piece; lets others run in between."""
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._forgetting = asyncio.get_running_loop().call_later(_KEPT_S, self._forget)
        for resource in _KINDS:
            async for piece in self._of_kind(resource):
                yield piece

    def _forget(self) -> None:
        self._orders.clear()
        for known in self._known.values():
            known.clear()

    async def _of_kind(self, resource: Resource) -> AsyncIterator[bytes]:
        records = self._store.list(resource)
        known = self._known[resource]
        if len(known) > 2 * len(records) + 1000:
            known.clear()
        everything: list[_Said] = []
        # Families in the order in which they are first met.
        families: dict[str, None] = {}
        met: set[int] = set()
        async for record in in_turns(records):
            said = known.get(record.key)
            if said is None or said.revision != record.revision:
                said = known[record.key] = self._said(resource, record)
            everything.append(said)
            if id(said.places) not in met:
                met.add(id(said.places))
                families.update(dict.fromkeys(said.places))
        for family in families:
            about = family.removeprefix("kube_").replace("_", " ")
            sort = "counter" if family in _COUNTERS else "gauge"
            yield f"# HELP {family} {about}\n# TYPE {family} {sort}\n".encode()
            for start in range(0, len(everything), _OBJECTS_A_PIECE):
                # Written out only now: of a hundred thousand pods that would be half a gigabyte at once.
                yield "".join([
                    said.templates[place].replace(_WHO, said.who)
                    for said in everything[start : start + _OBJECTS_A_PIECE]
                    if (place := said.places.get(family)) is not None
                ]).encode()  # fmt: skip
                await aio.sleep(0)

    def _said(self, resource: Resource, record: ObjectRecord) -> "_Said":
        label, say = _KINDS[resource]
        obj = self._store.encode_dict(resource, record, managed=False)
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
        texts = ["".join(lines) for lines in samples.lines.values()]
        # Within a label's value there are no bare quotes: what is found is always who it is.
        who = labels_text(of)[1:-1]
        if any(_WHO in text for text in texts):
            who = _WHO
        templates = tuple([sys.intern(text.replace(who, _WHO)) for text in texts])
        families = tuple(samples.lines)
        places = self._orders.get(families)
        if places is None:
            places = self._orders[families] = {family: place for place, family in enumerate(families)}
        return _Said(record.revision, who, places, templates)


async def in_turns(records: Sequence[ObjectRecord]) -> AsyncIterator[ObjectRecord]:
    """Yield records and let others run every so often."""
    for count, record in enumerate(records, 1):
        yield record
        if count % _RECORDS_A_STEP == 0:
            await aio.sleep(0)
