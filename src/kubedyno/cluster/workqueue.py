"""A queue of keys to reconcile: the keyed reconciler, with the pump's turns and timers.

Each is known to the pump by name: its statuses, figures and health are what `kubedyno statedb` and
`kubedyno cluster status` show.
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

from kubedyno.cluster.pump import Pump
from kubedyno.kube.status import StatusError
from kubedyno.reconciler.keyed import KeyedReconciler

K = TypeVar("K", bound=Hashable)

# client-go's DefaultTypedControllerRateLimiter: 5 ms doubled with each failure, at most 1,000 s.
RETRY_MIN_S = 0.005
RETRY_MAX_S = 1000.0
CONTROLLERS = "controllers"


class WorkQueue(KeyedReconciler[K]):
    """Keys waiting for their turn in the pump.

    Args:
        pump: Gives turns and timers.
        name: Of the controller; unique in its group.
        reconcile: (key, budget) → items done; see `KeyedReconciler`.
        group: Of the cluster's parts that this one belongs to.
        name_of: Key → its name in reports.
        retry_min_s: Back-off after the first failure.
        retry_max_s: Back-off at most.
    """

    def __init__(
        self,
        pump: Pump,
        name: str,
        reconcile: Callable[[K, int], int],
        *,
        group: str = CONTROLLERS,
        name_of: Callable[[K], str] = str,
        retry_min_s: float = RETRY_MIN_S,
        retry_max_s: float = RETRY_MAX_S,
    ) -> None:
        health = pump.health.part(group)
        worker = pump.worker(name, self.step, health.part(name))
        super().__init__(
            name,
            reconcile,
            clock=pump.clock,
            wake=worker.wake,
            call_at=pump.call_at,
            health=health,
            retry_min_s=retry_min_s,
            retry_max_s=retry_max_s,
            refusals=StatusError,
            name_of=name_of,
        )
        pump.reconcilers.append(self)
