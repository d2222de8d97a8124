"""Rows of kinds whose cells are worked out rather than copied, as kubectl shows them."""

from typing import Any

import pytest

from kubedyno.base.times import epoch_of
from kubedyno.kube.resources import by_plural

NOW = "2026-11-24T02:00:00Z"
CREATED = "2026-11-24T01:00:00Z"
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
JOB = {"template": TEMPLATE, "completions": 3, "selector": {"matchLabels": {"u": "1"}}}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
QUEUE = {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "30"}}
CASES: list[tuple[str, dict[str, Any], list[Any]]] = [
    (
        "batch/v1/jobs",
        {"spec": JOB, "status": {"startTime": CREATED, "succeeded": 1}},
        ["x", "Running", "1/3", "60m", "60m", "c", "i", "u=1"],
    ),
    (
        "batch/v1/jobs",
        {
            "spec": {**JOB, "completions": None, "parallelism": 2},
            "status": {
                "startTime": CREATED,
                "completionTime": "2026-11-24T01:00:07Z",
                "conditions": [{"type": "Complete", "status": "True"}],
                "succeeded": 2,
            },
        },
        ["x", "Complete", "2/1 of 2", "7s", "60m", "c", "i", "u=1"],
    ),
    (
        "batch/v1/cronjobs",
        {
            "spec": {"schedule": "* * * * *", "suspend": True, "jobTemplate": {"spec": {"template": TEMPLATE}}},
            "status": {"active": [{}], "lastScheduleTime": "2026-11-24T01:59:00Z"},
        },
        ["x", "* * * * *", "<none>", "True", 1, "60s", "60m", "c", "i", "<none>"],
    ),
    (
        "v1/persistentvolumeclaims",
        {
            "spec": {"volumeName": "v", "storageClassName": "s", "volumeMode": "Block"},
            "status": {
                "phase": "Bound", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            },
        },
        ["x", "Bound", "v", "2Gi", "RWO,RWX", "s", "<unset>", "60m", "Block"],
    ),
    (
        "v1/persistentvolumes",
        {
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"], "volumeMode": "Filesystem",
                "persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "n", "name": "c"},
            },
            "status": {"phase": "Released"},
        },
        ["x", "1Gi", "ROX", "Delete", "Released", "n/c", "", "<unset>", "", "60m", "Filesystem"],
    ),
    (
        "v1/resourcequotas",
        {"status": {"hard": {"pods": "2", "limits.cpu": "1", "requests.cpu": "1"}, "used": {"pods": "1"}}},
        ["x", "pods: 1/2, requests.cpu: 0/1", "limits.cpu: 0/1", "60m"],
    ),
    (
        "autoscaling/v2/horizontalpodautoscalers",
        {
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 4,
                "metrics": [CPU, {"type": "External", "external": QUEUE}, CPU],
            },
            "status": {
                "currentReplicas": 2,
                "currentMetrics": [{"type": "Resource", "resource": {"current": {"averageUtilization": 31}}}],
            },
        },
        ["x", "Deployment/d", "cpu: 31%/50%, <unknown>/30 (avg) + 1 more...", "1", 4, 2, "60m"],
    ),
    (
        "networking.k8s.io/v1/ingresses",
        {
            "spec": {"ingressClassName": "n", "rules": [{"host": h} for h in "abcd"], "tls": [{}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.10.10.10"}, {"hostname": "example.com"}]}},
        },
        ["x", "n", "a,b,c + 1 more...", "10.10.10.10,e...", "80, 443", "60m"],
    ),
    (
        "discovery.k8s.io/v1/endpointslices",
        {
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [{"addresses": [f"10.0.0.{i}"]} for i in range(5)],
        },
        ["x", "IPv4", "80", "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more...", "60m"],
    ),
    (
        "v1/endpoints",
        {"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}, {"port": 443}]}]},
        ["x", "10.0.0.1:80,10.0.0.2:80,10.0.0.1:443 + 1 more...", "60m"],
    ),
    (
        "rbac.authorization.k8s.io/v1/rolebindings",
        {
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [
                {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "Group", "name": "g"},
                {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
            ],
        },
        ["x", "Role/r", "60m", "u, v", "g", "n/s"],
    ),
    (
        "certificates.k8s.io/v1/certificatesigningrequests",
        {
            "spec": {"signerName": "e.io/s", "username": "u", "expirationSeconds": 3600},
            "status": {"conditions": [{"type": "Approved"}], "certificate": "x"},
        },
        ["x", "60m", "e.io/s", "u", "60m", "Approved,Issued"],
    ),
    (
        "networking.k8s.io/v1/ipaddresses",
        {"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}},
        ["x", "services/n/s"],
    ),
    (
        "apiregistration.k8s.io/v1/apiservices",
        {
            "spec": {"service": {"namespace": "n", "name": "s"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "Gone"}]},
        },
        ["x", "n/s", "False (Gone)", "60m"],
    ),
    (
        "resource.k8s.io/v1/resourceclaims",
        {"status": {"allocation": {}, "reservedFor": [{}]}},
        ["x", "allocated,reserved", "60m"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("api", "parts", "cells"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_cells_are_what_kubectl_shows(cluster, api, parts, cells):
    group, version, plural = ("", *api.split("/")) if api.count("/") == 1 else api.split("/")
    resource = by_plural(group, version, plural)
    assert resource is not None
    kind = cluster.registry.kind(resource)
    obj = {"metadata": {"name": "x", "creationTimestamp": CREATED}, **parts}
    assert kind.cells(obj, epoch_of(NOW)) == cells
    assert len(cells) == len(kind.columns())
