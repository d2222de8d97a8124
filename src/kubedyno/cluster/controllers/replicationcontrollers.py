"""ReplicationControllers: ReplicaSets under their old name, with a plain map as the selector."""

from typing import Any

from kubedyno.cluster.controllers.replicasets import ReplicaSets
from kubedyno.kube.resources import REPLICATIONCONTROLLERS
from kubedyno.kube.selectors import LabelSelector


class ReplicationControllers(ReplicaSets):
    """The ReplicationController controller."""

    resource = REPLICATIONCONTROLLERS
    component = "replication-controller"

    def selector_of(self, selector: dict[str, Any]) -> LabelSelector:
        return LabelSelector.of({"matchLabels": selector})
