"""What each namespace has from its first moment: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.

They are made in the very call that creates the namespace: pods of the same instant need them. The pieces of JSON that
are alike everywhere are made once.
"""

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS, Resource
from kubedyno.kube.status import StatusError
from kubedyno.statedb.records import Tombstone

ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)
_NO_LABELS: dict[str, str] = {}


class NamespaceDefaults:
    """Keeps both objects in each namespace.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Tells when one of them was deleted or changed.
        ca_pem: The cluster's certificate authority.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, *, ca_pem: bytes) -> None:
        self._trusted = trusted
        self._clock: Clock = pump.clock
        self._random: Random = trusted.registry.random
        self._namespaces = trusted.store.table(NAMESPACES)
        self._changes = self._namespaces.changes()
        self._queue: WorkQueue[str] = WorkQueue(pump, "namespace-defaults", self._reconcile)
        self._ca_body = b'"data":' + orjson.dumps({"ca.crt": ca_pem.decode()})
        self._ca_meta = b',"annotations":' + orjson.dumps({"kubernetes.io/description": _DESCRIPTION})
        feeds.follow(SERVICEACCOUNTS, gone=self._gone)
        feeds.follow(CONFIGMAPS, changed=self._config_changed, gone=self._gone)

    def start(self) -> None:
        """Give the namespaces that are there what they need, and new ones from now on."""
        self._namespaces.subscribe(self._catch_up)
        self._catch_up()

    def _catch_up(self) -> None:
        """Equip namespaces that came; runs within the commit's call, right after it."""
        for record in self._changes.next():
            if type(record) is not Tombstone and not record.obj.deletion_s:
                self._queue_or_equip(record.obj.name)

    def _queue_or_equip(self, namespace: str) -> None:
        try:
            self._equip(namespace)
        except StatusError:
            # Whoever creates a namespace is not to fail for this: the queue tries again and reports.
            self._queue.add(namespace)

    def _gone(self, record: ObjectRecord) -> None:
        if record.obj.name in {ACCOUNT, ROOT_CA}:
            self._queue.add(record.obj.namespace)

    def _config_changed(self, record: ObjectRecord) -> None:
        if record.obj.name == ROOT_CA and record.obj.body != self._ca_body:
            self._queue.add(record.obj.namespace)

    def _reconcile(self, namespace: str, budget: int) -> int:
        _ = budget
        record = self._namespaces.get(namespace)
        if record is not None and not record.obj.deletion_s:
            try:
                self._equip(namespace)
            except StatusError as error:
                if not is_terminating(error):
                    raise
            config = self._trusted.store.get(CONFIGMAPS, f"{namespace}/{ROOT_CA}")
            if config is not None and config.obj.body != self._ca_body:
                self._trusted.replace(CONFIGMAPS, config, body=self._ca_body)
        self._queue.forget(namespace)
        return 2

    def _equip(self, namespace: str) -> None:
        self._create(SERVICEACCOUNTS, namespace, ACCOUNT, b"", b"")
        self._create(CONFIGMAPS, namespace, ROOT_CA, self._ca_meta, self._ca_body)

    def _create(self, resource: Resource, namespace: str, name: str, meta: bytes, body: bytes) -> None:
        key = f"{namespace}/{name}"
        if self._trusted.store.get(resource, key) is not None:
            return
        uid = self._random.uid()
        created = rfc3339(self._clock.now())
        head = f'"name":"{name}","namespace":"{namespace}","uid":"{uid}","creationTimestamp":"{created}"'.encode()
        stored = StoredObject(
            key, namespace, name, uid, 0, _NO_LABELS, (), 0.0, (), head + meta, b"", body, b"", None
        )  # fmt: skip
        self._trusted.create(resource, namespace, stored)
