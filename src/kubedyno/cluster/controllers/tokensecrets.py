"""Secrets that hold a ServiceAccount's token go with the account."""

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import SECRETS, SERVICEACCOUNTS

TYPE = "kubernetes.io/service-account-token"
_MARK = TYPE.encode()
NAME = "kubernetes.io/service-account.name"
UID = "kubernetes.io/service-account.uid"


class TokenSecrets:
    """The part of the tokens controller that cleans up.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "token-secrets", self._reconcile)
        self._trusted = trusted
        self._secrets = trusted.store.table(SECRETS)
        self._accounts = trusted.store.table(SERVICEACCOUNTS)
        # Account → keys of its token Secrets.
        self._of_account: dict[str, dict[str, None]] = {}
        feeds.follow(SERVICEACCOUNTS, gone=self._account_gone)
        feeds.follow(SECRETS, self._changed, self._gone)

    def _account_gone(self, record: ObjectRecord) -> None:
        for key in self._of_account.get(record.key, ()):
            self._queue.add(key)

    def _account_of(self, record: ObjectRecord) -> str:
        name = metadata_of(record.obj).get("annotations", {}).get(NAME, "")
        return f"{record.obj.namespace}/{name}" if name else ""

    def _changed(self, record: ObjectRecord) -> None:
        if _MARK in record.obj.body:
            account = self._account_of(record)
            if account:
                self._of_account.setdefault(account, {})[record.key] = None
                self._queue.add(record.key)

    def _gone(self, record: ObjectRecord) -> None:
        if _MARK in record.obj.body:
            account = self._account_of(record)
            keys = self._of_account.get(account, {})
            keys.pop(record.key, None)
            if not keys:
                self._of_account.pop(account, None)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._secrets.get(key)
        if record is None or record.obj.deletion_s or _MARK not in record.obj.body:
            return 1
        account = self._accounts.get(self._account_of(record))
        uid = metadata_of(record.obj).get("annotations", {}).get(UID)
        if account is None or uid not in {None, account.obj.uid}:
            self._trusted.delete(SECRETS, key, uid=record.obj.uid)
        return 1
