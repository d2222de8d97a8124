"""What the benchmarks of the API server send."""

import orjson

from benchmarks.apihost import NAMESPACE

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
CONFIGMAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CUSTOMS = f"/apis/bench.example/v1/namespaces/{NAMESPACE}/wheels"


def headers_of(token: str, media: str = "application/json") -> tuple[tuple[str, str], ...]:
    """Return the headers of a request."""
    return (
        ("authorization", f"Bearer {token}"),
        ("content-type", media),
        ("accept", "application/json"),
        ("user-agent", "bench"),
    )


def deployment(name: str) -> bytes:
    """Return a Deployment as the study's load has it, about 1.2 KB as stored."""
    labels = {"app": name, "group": "load", "kube-burner-job": "bench", "kube-burner-index": "0"}
    container = {
        "name": "nginx",
        "image": "nginx:alpine",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": f"ENVVAR{i}_{name}", "value": "abcdefghij" * 4} for i in range(4)],
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}, "limits": {"cpu": "100m", "memory": "100Mi"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 10},
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [container], "nodeSelector": {"role": "worker"}, "restartPolicy": "Always"},
        },
    }
    return orjson.dumps(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels}, "spec": spec}
    )


def pod(number: int) -> bytes:
    """Return a small pod."""
    container = {"name": "c", "image": "nginx:alpine", "resources": {"requests": {"cpu": "10m"}}}
    metadata = {"name": f"pod-{number}", "labels": {"app": f"app-{number % 100}"}}
    return orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})


def configmap(number: int) -> bytes:
    """Return a small ConfigMap."""
    return b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm-%d"},"data":{"a":"b"}}' % number


def definition() -> bytes:
    """Return the definition of a resource with rules."""
    spec = {
        "type": "object",
        "properties": {
            "spokes": {"type": "integer", "default": 32},
            "sizes": {"type": "array", "items": {"type": "integer"}, "maxItems": 20},
        },
        "x-kubernetes-validations": [
            {"rule": "self.spokes > 1 && self.spokes < 100"},
            {"rule": "self.sizes.all(size, size > 0)", "message": "sizes must be positive"},
        ],
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    names = {"plural": "wheels", "singular": "wheel", "kind": "Wheel", "listKind": "WheelList"}
    return orjson.dumps(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "wheels.bench.example"},
            "spec": {"group": "bench.example", "names": names, "scope": "Namespaced", "versions": [version]},
        }
    )


def custom(number: int) -> bytes:
    """Return an object of that resource."""
    return orjson.dumps(
        {
            "apiVersion": "bench.example/v1",
            "kind": "Wheel",
            "metadata": {"name": f"wheel-{number}"},
            "spec": {"sizes": [number % 7 + 1] * 10},
        }
    )
