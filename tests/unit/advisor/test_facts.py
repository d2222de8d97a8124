"""What is read of a cluster: of events only those that are no good news, and that by the server."""

import asyncio

from kubedyno.advisor import facts
from kubedyno.kube.status import Forbidden


class Cluster:
    def __init__(self, forbidden=""):
        self.forbidden = forbidden
        self.asked = []

    async def list_all(self, path, keep=None):
        self.asked.append(path)
        if self.forbidden and self.forbidden in path:
            raise Forbidden("no")
        listed = [{"spec": {"replicas": 2}, "status": {"replicas": count}} for count in (1, 2)]
        return [item for item in listed if keep is None or keep(item)]


def test_normal_events_stay_with_the_server():
    cluster = Cluster()
    seen = asyncio.run(facts.read(cluster))
    assert "/api/v1/events?fieldSelector=type%21%3DNormal" in cluster.asked
    assert "/api/v1/events" not in cluster.asked
    assert (len(seen.events), len(seen.replicasets)) == (2, 1)


def test_what_may_not_be_read_is_named():
    seen = asyncio.run(facts.read(Cluster("events")))
    assert seen.events == ()
    assert seen.missing == ("events: not read (no)",)
