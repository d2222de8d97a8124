"""Pages of controller manager, scheduler, etcd and kube-proxy of a whole cluster without sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.cluster.apiserver.processpage import Pauses
from kubedyno.cluster.assembly.cluster import Cluster
from kubedyno.cluster.assembly.componentpages import ComponentPages, parts_of
from kubedyno.cluster.assembly.components import Components, refusal
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube.resources import CONFIGMAPS, DEPLOYMENTS, PODS
from kubedyno.kube.status import NotFound
from kubedyno.promql.exposition import Sample, labels_of, read
from unit.cluster.apiserver.harness import Answer
from unit.cluster.assembly.test_chaos import looped

SETTINGS = ClusterSettings(speed=0.0)
OPEN = dict.fromkeys(("controller-manager", "scheduler", "etcd", "kube-proxy"), "0.0.0.0")
CA = b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


@dataclass
class Running:
    cluster: Cluster
    pages: ComponentPages
    components: Components

    def value(self, job: str, name: str, /, **wanted: str) -> float:
        """Return the sum over the series of a page that have some labels."""
        found = [
            (labels_of(item.series), item.value)
            for item in read(self.pages.of[job]().text().decode())
            if isinstance(item, Sample)
        ]
        values = [v for labels, v in found if labels["__name__"] == name and wanted.items() <= labels.items()]
        assert values, f"{job} has no {name}{wanted}"
        return sum(values)

    def scrape(self, path: str) -> Answer:
        answer = Answer()
        parts = path.removeprefix("/kubedyno/scrape/").split("/")
        self.components.scrape(_Get(path), answer, parts)  # type: ignore[arg-type]
        return answer

    async def until(self, true) -> None:
        async with aio.timeout(60):
            while not true():  # noqa: ASYNC110 - what is waited for are counters
                await asyncio.sleep(0.01)

    def deploy(self, replicas: int, **spec: object) -> None:
        labels = {"app": "x"}
        containers = [{"name": "c", "image": "i:1"}]
        template = {"metadata": {"labels": labels}, "spec": {"containers": containers, **spec}}
        body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        self.cluster.registry.create(DEPLOYMENTS, "default", {"metadata": {"name": "x"}, "spec": body})

    def pods(self, phase: str) -> int:
        return sum(r.obj.facts.phase == phase for r in self.cluster.store.list(PODS, "default"))


@dataclass
class _Get:
    path: str
    method: str = "GET"


@asynccontextmanager
async def running(settings: ClusterSettings = SETTINGS) -> AsyncIterator[Running]:
    cluster = Cluster(settings, SYSTEM_CLOCK, ca_pem=CA)
    pauses = Pauses()
    pages = ComponentPages(parts_of(cluster, "127.0.0.1:6443"), pauses)
    components = Components(cluster.store, settings, pages.of, "127.0.0.1:6443")
    here = Running(cluster, pages, components)
    cluster.start("https://127.0.0.1:6443")
    try:
        await here.until(lambda: len(components.endpoints()) == 4)
        yield here
    finally:
        pauses.close()
        cluster.stop()


@looped
async def test_the_scheduler_counts_what_it_has_bound_and_what_not():
    async with running() as here:
        here.deploy(7)
        await here.until(lambda: here.pods("Running") == 7)
        # Those of kube-system come when they come.
        pods = [pod.obj for pod in here.cluster.store.list(PODS)]
        bound = sum(bool(pod.facts.node_name) and b"kubernetes.io/config.mirror" not in pod.meta for pod in pods)
        attempts = "scheduler_schedule_attempts_total"
        assert here.value("kube-scheduler", attempts, result="scheduled") == bound >= 7
        duration = "scheduler_scheduling_attempt_duration_seconds_count"
        assert here.value("kube-scheduler", duration, result="scheduled") == bound
        assert here.value("kube-scheduler", "scheduler_pod_scheduling_sli_duration_seconds_count") == bound
        await here.until(lambda: here.value("kube-scheduler", "scheduler_pending_pods") == 0)


@looped
async def test_a_pod_that_fits_nowhere_waits_among_the_unschedulable():
    async with running() as here:
        here.deploy(1, nodeSelector={"no": "node"})
        await here.until(lambda: here.value("kube-scheduler", "scheduler_pending_pods", queue="unschedulable") == 1)
        assert here.value("kube-scheduler", "scheduler_schedule_attempts_total", result="unschedulable") >= 1
        assert here.value("kube-scheduler", "scheduler_pending_pods", queue="active") == 0


@looped
async def test_writes_of_the_scheduler_are_its_bindings_and_events():
    async with running() as here:
        posts = here.value("kube-scheduler", "rest_client_requests_total", method="POST")
        here.deploy(5)
        await here.until(lambda: here.pods("Running") == 5)
        # A binding and an event each.
        assert here.value("kube-scheduler", "rest_client_requests_total", method="POST") - posts == 10


@looped
async def test_work_queues_have_as_many_durations_as_keys():
    async with running() as here:
        here.deploy(3)
        await here.until(lambda: here.pods("Running") == 3)
        await here.until(lambda: here.value("kube-controller-manager", "workqueue_depth") == 0)
        adds = here.value("kube-controller-manager", "workqueue_adds_total", name="deployment")
        assert adds >= 1
        for name in ("queue", "work"):
            counted = here.value(
                "kube-controller-manager", f"workqueue_{name}_duration_seconds_count", name="deployment"
            )
            assert counted == adds
        assert here.value("kube-controller-manager", "rest_client_requests_total", method="POST") >= 4


@looped
async def test_etcd_counts_each_write_of_the_store():
    async with running() as here:
        await here.until(lambda: here.value("kube-controller-manager", "workqueue_depth") == 0)
        before, revision = here.value("kube-etcd", "etcd_mvcc_put_total"), here.cluster.store.revision
        deleted = here.value("kube-etcd", "etcd_mvcc_delete_total")
        for number in range(4):
            here.cluster.registry.create(CONFIGMAPS, "default", {"metadata": {"name": f"c{number}"}})
        here.cluster.registry.delete(CONFIGMAPS, "default", "c0", {})
        writes = here.cluster.store.revision - revision
        assert here.value("kube-etcd", "etcd_mvcc_put_total") - before == 4
        assert here.value("kube-etcd", "etcd_mvcc_delete_total") - deleted == 1
        assert writes == 5
        assert here.value("kube-etcd", "etcd_network_client_grpc_received_bytes_total") > 1000
        # Kept in memory: nothing was ever brought to a disk.
        assert here.value("kube-etcd", "etcd_disk_wal_fsync_duration_seconds_count") == 0


@looped
async def test_components_on_loopback_refuse_and_those_on_all_addresses_answer():
    async with running() as here:
        for endpoint in here.components.endpoints():
            answer = here.scrape(endpoint.path)
            assert (answer.status, answer.body.decode()) == (503, refusal(endpoint))
            assert answer.body.endswith(f"dial tcp {endpoint.instance}: connect: connection refused".encode())
        with pytest.raises(NotFound, match="nothing serves metrics"):
            here.scrape("/kubedyno/scrape/http/127.0.0.1:22/metrics")
    async with running(replace(SETTINGS, bind_addresses=OPEN)) as here:
        ports = set()
        for endpoint in here.components.endpoints():
            answer = here.scrape(endpoint.path)
            assert answer.status == 200
            assert b"process_cpu_seconds_total" in answer.body
            ports.add(endpoint.component.port)
        assert ports == {10257, 10259, 2381, 10249}


@looped
async def test_kube_proxy_answers_when_its_file_is_edited_and_its_pod_made_anew():
    async with running() as here:
        (proxy,) = (e for e in here.components.endpoints() if e.component.job == "kube-proxy")
        record = here.cluster.store.get(CONFIGMAPS, "kube-system/kube-proxy")
        assert record is not None
        obj = here.cluster.store.encode_dict(CONFIGMAPS, record)
        obj["data"]["config.conf"] = obj["data"]["config.conf"].replace(
            "metricsBindAddress: ", "metricsBindAddress: 0.0.0.0:10249"
        )
        here.cluster.registry.update(CONFIGMAPS, "kube-system", "kube-proxy", obj)
        assert here.scrape(proxy.path).status == 503
        here.cluster.registry.delete(PODS, "kube-system", proxy.pod, {"gracePeriodSeconds": 0})
        await here.until(lambda: any(e.reachable for e in here.components.endpoints()))
        assert here.scrape(proxy.path).status == 200


@looped
async def test_feature_gates_are_told_as_they_were_set():
    gates = {"ContainerStopSignals": True, "PodObservedGenerationTracking": False, "Unheard": True}
    async with running(replace(SETTINGS, feature_gates=gates)) as here:
        name = "kubernetes_feature_enabled"
        for gate, value, stage in (
            ("ContainerStopSignals", 1, "ALPHA"),
            ("PodObservedGenerationTracking", 0, ""),
            ("DynamicResourceAllocation", 1, ""),
            ("Unheard", 1, "ALPHA"),
        ):
            labels = {"name": gate, **({"stage": stage} if stage else {})}
            assert here.value("kube-scheduler", name, **labels) == value


@looped
async def test_targets_are_listed_as_service_discovery_wants_them():
    async with running() as here:
        targets = here.components.targets()
        jobs = [target["labels"]["job"] for target in targets]
        assert sorted(set(jobs)) == [
            "apiserver", "kube-controller-manager", "kube-etcd", "kube-proxy", "kube-scheduler", "kube-state-metrics",
            "kubelet", "node-exporter",
        ]  # fmt: skip
        assert all(target["targets"] == ["127.0.0.1:6443"] for target in targets)
        assert all(isinstance(value, str) for target in targets for value in target["labels"].values())
