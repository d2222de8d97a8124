"""From volumes to a sandbox with an address: what a pod needs before its containers can begin."""

from collections.abc import Callable

from kubedyno.cluster.kubelet.containers import Containers
from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.endings import Endings
from kubedyno.cluster.kubelet.rows import NodeRow
from kubedyno.cluster.kubelet.runs import PodRun, Stage
from kubedyno.cluster.kubelet.texts import NETWORK_NOT_READY
from kubedyno.cluster.runtime import Place, Runtime
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import PODS

_SANDBOX_DIGITS = 64


class Sandboxes:
    """Sandboxes of all pods.

    Args:
        desk: Timers, events, statuses.
        containers: What begins once there is a sandbox.
        endings: Gives an address back.
        on_lost: Told of a real pod whose sandbox ended of itself.
    """

    def __init__(self, desk: Desk, containers: Containers, endings: Endings, on_lost: Callable[[PodRun], None]) -> None:
        self._desk = desk
        self._containers = containers
        self._endings = endings
        self._on_lost = on_lost

    def mount(self, run: PodRun, failures: int = 0) -> None:
        """Mount the volumes: what they are made of has to be there."""
        lacking = self._desk.missing_volume(run)
        if lacking is None:
            self._desk.after(run, 0.0 if run.real else self._desk.latency.sandbox(), self._sandbox)
            return
        volume, (kind, name) = lacking
        text = f'MountVolume.SetUp failed for volume "{volume}" : {kind} "{name}" not found'
        self._desk.event(run, "Warning", "FailedMount", text)
        self._desk.request_publish(run)
        self._desk.after(run, self._desk.latency.mount_retry(failures), lambda run: self.mount(run, failures + 1))

    def _sandbox(self, run: PodRun) -> None:
        """Make the sandbox: it needs an address."""
        node = run.node
        own_network = not run.plan.facts.host_network
        if own_network or run.real:
            pool = node.pool
            if pool is None:
                text = f"network is not ready: {NETWORK_NOT_READY}"
                self._desk.event(run, "Warning", "NetworkNotReady", text)
                self._wait(run)
                return
            if own_network:
                run.address = pool.allocate()
            if own_network and not run.address:
                text = pool.exhausted(self._desk.latency.random.hex(_SANDBOX_DIGITS))
                self._desk.event(run, "Warning", "FailedCreatePodSandBox", text)
                self._wait(run)
                return
        if run.real:
            self._make_real(run)
            return
        self._begin(run)

    def _begin(self, run: PodRun) -> None:
        run.go(Stage.INITIALIZING if run.init else Stage.STARTING)
        self._containers.pulls.tell_missing_secrets(run)
        if run.plan.image_volumes:
            self._containers.volumes.pull(run, self._begin_containers)
        else:
            self._begin_containers(run)

    def _begin_containers(self, run: PodRun) -> None:
        self._containers.begin_next(run)
        self._containers.begin_ephemeral(run)

    def choose(self, runtime: Runtime, run: PodRun, record: ObjectRecord) -> None:
        """Let the runtime have a pod that it knows, and note on the pod what is real of it."""
        pod = self._desk.trusted.store.encode_dict(PODS, record)
        refusal = "static pods are modelled" if run.static else runtime.refusal(pod)
        run.real = not refusal
        if refusal:
            run.note = ("False", "Modelled", f"no process runs for this pod: {refusal}")
            if not run.static:
                self._desk.event_of(record, run.node, "Normal", "Modelled", run.note[2])
        else:
            run.note = ("True", "Processes", runtime.note(pod))

    def _make_real(self, run: PodRun) -> None:
        """Have the runtime make a pod's sandbox."""
        runtime, record, pool, node, epoch = (
            self._desk.runtime,
            self._desk.pods.get(run.key),
            run.node.pool,
            run.node,
            run.epoch,
        )
        if record is None or record.obj.uid != run.uid:
            return
        assert runtime is not None
        assert pool is not None

        def done(failure: str) -> None:
            if run.epoch != epoch:
                return
            if failure:
                text = f"Failed to create pod sandbox: rpc error: code = Unknown desc = {failure}"
                self._desk.event(run, "Warning", "FailedCreatePodSandBox", text)
                runtime.remove(run.uid)
                self._endings.release_address(run)
                run.address = ""
                self._wait(run)
            else:
                self._begin(run)
            self._desk.flush()

        pod = self._desk.trusted.store.encode_dict(PODS, record)
        runtime.create(
            pod,
            Place(node.name, node.address, pool.cidr),
            run.address or node.address,
            done,
            lambda: self._on_lost(run),
        )

    def _wait(self, run: PodRun) -> None:
        run.go(Stage.WAITING_ADDRESS)
        run.node.waiting[run.key] = run
        self._desk.request_publish(run)
        self._desk.after(run, self._desk.latency.retry(), self._retry)

    def _retry(self, run: PodRun) -> None:
        run.node.waiting.pop(run.key, None)
        run.go(Stage.SANDBOX)
        self._sandbox(run)

    def wake_waiting(self, node: NodeRow, count: int) -> None:
        """Give the first waiting pods another try now."""
        for run in list(node.waiting.values())[:count]:
            run.epoch += 1
            try:
                self._retry(run)
            except Exception as error:  # noqa: BLE001 - told with its pod: whoever gave it the try is another
                self._desk.broken.add(run.key)
                self._desk.failed(run, error)
