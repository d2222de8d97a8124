"""What a request is about by its method, path and query alone, as Kubernetes' own reading of them has it."""

import pytest

from kubedyno.cluster.apiserver.authorization import Attributes
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import attributes_of, watch_of
from kubedyno.http.messages import Peer, Request


def request(method: str, target: str) -> Request:
    path, _, query = target.partition("?")
    return Request(method, path, query, {}, b"", Peer(1, ""))


def asked(verb: str, resource: str, name: str = "", namespace: str = "", part: str = "", group: str = "") -> Attributes:
    return Attributes(verb, group, resource, part, namespace, name)


@pytest.mark.parametrize(
    ("method", "target", "wanted"),
    [
        ("GET", "/api/v1/pods", asked("list", "pods")),
        ("HEAD", "/api/v1/pods/", asked("list", "pods")),
        ("OPTIONS", "/api/v1/pods", asked("", "pods")),
        ("CONNECT", "/api/v1/namespaces/a/pods/p", asked("", "pods", "p", "a")),
        ("GET", "/api/v1//pods", asked("get", "", "pods")),
        ("GET", "/api/v1/namespaces//pods", asked("list", "pods")),
        ("GET", "/api/v1/namespaces/a/pods//log", asked("list", "pods", "", "a", "log")),
        ("DELETE", "/api/v1/namespaces/a/pods", asked("deletecollection", "pods", "", "a")),
        ("PUT", "/api/v1/namespaces/a/finalize", asked("update", "namespaces", "a", "a", "finalize")),
        ("GET", "/apis/apps/v1/namespaces/a/deployments/d%2Ee", asked("get", "deployments", "d.e", "a", group="apps")),
        ("GET", "/api/v1/watch/namespaces/a/pods/p", asked("watch", "pods", "p", "a")),
        ("GET", "/apis/apps/v1/watch/deployments", asked("watch", "deployments", group="apps")),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=metadata.name%3Dp", asked("watch", "pods", "p")),
        ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dp,status.phase%3DRunning", asked("list", "pods", "p")),
        ("GET", "/api/v1/pods?fieldSelector=metadata.name!%3Dp", asked("list", "pods")),
        ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Da/b", asked("list", "pods")),
        ("DELETE", "/api/v1/pods?fieldSelector=metadata.name%3Dp", asked("deletecollection", "pods")),
        ("GET", "/api/v1", Attributes("get", path="/api/v1")),
        ("POST", "/metrics", Attributes("post", path="/metrics")),
    ],
)
def test_a_request_is_about(method: str, target: str, wanted: Attributes) -> None:
    assert attributes_of(request(method, target)) == wanted


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/api/v1/watch/pods", "/api/v1/pods", "watch=true"),
        ("/api/v1/watch/namespaces", "/api/v1/namespaces", "watch=true"),
        ("/api/v1/watch/namespaces/a", "/api/v1/namespaces", "watch=true&fieldSelector=metadata.name%3Da"),
        ("/api/v1/watch/namespaces/a/pods?watch=0&limit=1", "/api/v1/namespaces/a/pods", "watch=true&limit=1"),
        (
            "/apis/apps/v1/watch/namespaces/a/deployments/d?fieldSelector=metadata.namespace%3Da",
            "/apis/apps/v1/namespaces/a/deployments",
            "watch=true&fieldSelector=metadata.namespace%3Da%2Cmetadata.name%3Dd",
        ),
    ],
)
def test_the_old_paths_of_watches_are_those_of_today(target: str, path: str, query: str) -> None:
    found = watch_of(request("GET", target))
    assert found is not None
    assert (found.path, found.query) == (path, query)


@pytest.mark.parametrize("path", ["/api/v1/pods", "/api/v1/watch", "/apis/apps/watch/pods", "/api/watch/v1/pods"])
def test_other_paths_are_none_of_a_watch(path: str) -> None:
    assert watch_of(request("GET", path)) is None
