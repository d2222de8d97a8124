"""Revisions that a client names and that are still to come: they are waited for, as the real server's cache does.

A client that has written to one of several servers, or has heard of an object from another cluster component, may be ahead of
what it is told next; one that asks for what will never be learns so after the same time.
"""

from collections.abc import Callable

from kubedyno.base import aio
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.status import Timeout, too_large

# What is waited for a revision, and how often is looked meanwhile.
REVISION_WAIT_S = 3.0
REVISION_LOOKS = 30


class RevisionToCome(Timeout):
    """A read names a revision that is still to come; whoever does not wait for it answers with this.

    Attributes:
        revision: What is asked for.
    """

    def __init__(self, revision: int, current: int) -> None:
        refusal = too_large(revision, current)
        super().__init__(refusal.message, refusal.details, headers=refusal.headers)
        self.revision = revision


async def come(store: Store, revision: int, gone: Callable[[], bool]) -> bool:
    """Wait until a revision has come, nobody is there any more who asks for it, or it has taken too long; say whether it has."""
    for _ in range(REVISION_LOOKS):
        if store.revision >= revision or gone():
            break
        await aio.sleep(REVISION_WAIT_S / REVISION_LOOKS)
    return store.revision >= revision
