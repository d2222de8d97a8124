"""kube-state-metrics' series: names and labels as a real 2.x gave them for a like cluster, values as the objects say."""

import asyncio
import gc
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

from kubedyno.cluster.apiserver.kubestate.page import KubeState
from unit.cluster.apiserver.harness import NS, TOKEN, Api, running
from unit.cluster.apiserver.test_metricpages import MERGE, named

GOLDEN: dict[str, list[list[str]]] = json.loads(
    (Path(__file__).parents[3] / "golden" / "cluster" / "kubestate.json").read_text()
)
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
SELECTOR = {"matchLabels": {"a": "b"}}
SINCE = "2026-11-18T11:06:40Z"
CORE, APPS, BATCH = f"/api/v1/namespaces/{NS}", f"/apis/apps/v1/namespaces/{NS}", f"/apis/batch/v1/namespaces/{NS}"
FINISHED = {"terminated": {"exitCode": 2, "reason": "Error", "startedAt": SINCE, "finishedAt": SINCE}}
OBJECTS: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    (
        "/api/v1/nodes",
        {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}},
        {
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "capacity": {"cpu": "4", "memory": "8Gi", "example.com/gpu": "2"},
        },
    ),
    (f"{APPS}/deployments", {"metadata": {"name": "d"}, "spec": {
        "replicas": 4, "selector": SELECTOR, "template": TEMPLATE,
        "strategy": {"rollingUpdate": {"maxSurge": "30%", "maxUnavailable": "30%"}},
    }}, {"replicas": 4, "readyReplicas": 3, "conditions": [
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "lastUpdateTime": SINCE,
         "lastTransitionTime": SINCE, "message": ""},
    ]}),
    (f"{APPS}/replicasets", {"metadata": {"name": "r"}, "spec": {"selector": SELECTOR, "template": TEMPLATE}}, None),
    (f"{APPS}/statefulsets", {"metadata": {"name": "s"}, "spec": {
        "serviceName": "s", "selector": SELECTOR, "template": TEMPLATE, "ordinals": {"start": 3},
    }}, {"replicas": 1, "currentRevision": "s-1", "updateRevision": "s-2"}),
    (f"{APPS}/daemonsets", {"metadata": {"name": "ds"}, "spec": {"selector": SELECTOR, "template": TEMPLATE}}, None),
    (f"{BATCH}/cronjobs", {"metadata": {"name": "c"}, "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {
        "template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}},
    }}}}, None),
    (f"{BATCH}/jobs", {"metadata": {"name": "j"}, "spec": {
        "template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}},
    }}, {"active": 1, "startTime": SINCE}),
    (f"{CORE}/services", {"metadata": {"name": "sv"}, "spec": {"ports": [{"port": 80}]}}, None),
    (f"{CORE}/configmaps", {"metadata": {"name": "cm"}}, None),
    (f"{CORE}/persistentvolumeclaims", {"metadata": {"name": "pvc"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "x",
    }}, {"phase": "Bound"}),
    ("/api/v1/persistentvolumes", {"metadata": {"name": "pv"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}, "hostPath": {"path": "/x"},
    }}, None),
    ("/apis/storage.k8s.io/v1/storageclasses", {"metadata": {"name": "x"}, "provisioner": "p"}, None),
    (f"/apis/policy/v1/namespaces/{NS}/poddisruptionbudgets", {
        "metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": SELECTOR},
    }, {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}),
    (f"/apis/autoscaling/v2/namespaces/{NS}/horizontalpodautoscalers", {"metadata": {"name": "h"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 9,
        "metrics": [{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
        }}],
    }}, {"currentReplicas": 2, "desiredReplicas": 3}),
    (f"/apis/discovery.k8s.io/v1/namespaces/{NS}/endpointslices", {
        "metadata": {"name": "es"}, "addressType": "IPv4", "ports": [{"name": "p", "port": 80}],
        "endpoints": [{"addresses": ["10.1.0.2"], "conditions": {"ready": True}}],
    }, None),
    (f"/apis/coordination.k8s.io/v1/namespaces/{NS}/leases", {
        "metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "renewTime": "2026-11-18T11:06:40.000000Z"},
    }, None),
    (f"{CORE}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "9"}}},
     {"hard": {"pods": "9"}, "used": {"pods": "2"}}),
    (f"{CORE}/pods", {"metadata": {"name": "p"}, "spec": {
        "nodeName": "n", "tolerations": [{"key": "k", "operator": "Exists"}] * 2,
        "initContainers": [{"name": "i", "image": "i:1"}],
        "containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "100m"}}}],
    }}, {
        "phase": "Running", "podIPs": [{"ip": "10.1.0.3"}], "podIP": "10.1.0.3", "startTime": SINCE,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": SINCE} for kind in (
            "Ready", "ContainersReady", "Initialized", "PodScheduled",
        )],
        "containerStatuses": [{
            "name": "c", "image": "i:1", "imageID": "x", "restartCount": 2, "ready": True,
            "state": {"running": {"startedAt": SINCE}}, "lastState": FINISHED,
        }],
        "initContainerStatuses": [{
            "name": "i", "image": "i:1", "imageID": "x", "restartCount": 0, "ready": True, "state": FINISHED,
        }],
    }),
]  # fmt: skip


async def state_page() -> bytes:
    async with running() as api:
        for path, obj, status in OBJECTS:
            made = api.call("POST", path, obj)
            assert made.status == 201, made.json
            if status is not None:
                where = f"{path}/{obj['metadata']['name']}/status"
                answer = api.call("PATCH", where, {"status": status}, MERGE)
                assert answer.status == 200, answer.json
        return await page_of(api)


async def page_of(api: Api) -> bytes:
    answer = api.call("GET", "/kubedyno/metrics/kube-state", headers={"authorization": f"Bearer {TOKEN}"})
    await answer.done.wait()
    return bytes(answer.body)


PAGE = asyncio.run(state_page())


def value(name: str, **labels: str) -> float:
    ((_, found),) = named(PAGE, name, **labels)
    return found


def test_names_and_labels_are_kube_state_metrics_own():
    seen: dict[str, set[tuple[str, ...]]] = {}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} ", PAGE.decode(), re.MULTILINE):
        # Also those that are empty, which readers drop.
        seen.setdefault(name, set()).add(tuple(sorted(re.findall(r'(\w+)="', labels))))
    known = {name: {tuple(labels) for labels in found} for name, found in GOLDEN.items()}
    assert {name: labels for name, labels in seen.items() if name in known and not labels <= known[name]} == {}
    # What this little cluster has none of says nothing.
    assert len(seen.keys() & known.keys()) > 120
    assert seen.keys() - known.keys() == set()


def test_values_are_what_objects_say():
    of = {"namespace": NS}
    assert value("kube_deployment_spec_strategy_rollingupdate_max_surge", **of) == 2
    assert value("kube_deployment_spec_strategy_rollingupdate_max_unavailable", **of) == 1
    assert value("kube_deployment_status_replicas_ready", **of) == 3
    assert value("kube_deployment_status_condition", status="true", condition="Available") == 1
    assert value("kube_pod_container_status_last_terminated_exitcode", pod="p") == 2
    assert value("kube_pod_container_status_restarts_total", pod="p") == 2
    assert value("kube_pod_init_container_status_terminated_reason", reason="Error") == 1
    assert value("kube_pod_status_qos_class", qos_class="Burstable") == 1
    assert value("kube_node_status_capacity", resource="example_com_gpu", unit="integer") == 2
    assert value("kube_persistentvolume_capacity_bytes") == 2 << 30
    assert value("kube_horizontalpodautoscaler_spec_target_metric", metric_target_type="utilization") == 50
    # The first of January that follows.
    assert value("kube_cronjob_next_schedule_time") == 1798761600
    # Said once, however often the pod does.
    assert value("kube_pod_tolerations", key="k") == 1


def test_what_has_changed_or_gone_is_told_anew_though_the_rest_is_kept():
    async def told() -> list[list[tuple[str, float]]]:
        async with running() as api:
            for name in ("a", "b"):
                body = {"metadata": {"name": name}, "spec": {"replicas": 1, "selector": SELECTOR, "template": TEMPLATE}}
                assert api.call("POST", f"{APPS}/deployments", body).status == 201
            pages = [await page_of(api)]
            assert api.call("PATCH", f"{APPS}/deployments/a", {"spec": {"replicas": 5}}, MERGE).status == 200
            pages.append(await page_of(api))
            assert api.call("DELETE", f"{APPS}/deployments/b").status == 200
            pages.append(await page_of(api))
            return [
                [(labels["deployment"], found) for labels, found in named(page, "kube_deployment_spec_replicas")]
                for page in pages
            ]

    assert asyncio.run(told()) == [[("a", 1), ("b", 1)], [("a", 5), ("b", 1)], [("a", 5)]]


def test_what_pods_of_one_template_say_is_kept_once_and_only_while_somebody_asks():
    async def kept() -> tuple[float, bytes, bytes]:
        async with running() as api:
            pod = {"spec": TEMPLATE["spec"]}
            for number in range(300):
                assert api.call("POST", f"{CORE}/pods", {"metadata": {"name": f"p{number}"}, **pod}).status == 201
            state = KubeState(api.registry.store)
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            first = b"".join([piece async for piece in state.page()])
            held = tracemalloc.get_traced_memory()[0] - before - len(first)
            again = b"".join([piece async for piece in state.page()])
            state._forget()
            del first
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] - before - len(again) < held / 2
            tracemalloc.stop()
            return held / 300, b"".join([piece async for piece in state.page()]), again

    held, anew, again = asyncio.run(kept())
    # Its lines alone are 4 KB.
    assert held < 1500
    assert anew == again
    assert len(named(again, "kube_pod_status_phase", pod="p7", phase="Pending")) == 1


def test_hostile_words_are_nobodys_name():
    image = 'i:1\0",pod="p'

    async def page() -> bytes:
        async with running() as api:
            pod = {"metadata": {"name": "p"}, "spec": TEMPLATE["spec"]}
            assert api.call("POST", f"{CORE}/pods", pod).status == 201
            container = {"name": "c", "image": image, "imageID": "i", "ready": True, "restartCount": 0}
            status = {"status": {"containerStatuses": [container]}}
            assert api.call("PATCH", f"{CORE}/pods/p/status", status, MERGE).status == 200
            return await page_of(api)

    ((labels, _),) = named(asyncio.run(page()), "kube_pod_container_info")
    assert labels["image"] == image
    assert labels["pod"] == "p"
