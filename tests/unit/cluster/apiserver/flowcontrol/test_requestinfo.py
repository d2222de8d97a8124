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
        ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Da&limit=x", asked("list", "pods")),
        ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Da&labelSelector=(", asked("list", "pods")),
        ("GET", "/api/v1/watch/pods?fieldSelector=metadata.name%3Da", asked("watch", "pods")),
        ("DELETE", "/api/v1/pods?fieldSelector=metadata.name%3Dp", asked("deletecollection", "pods")),
        ("GET", "/api/v1", Attributes("get", path="/api/v1")),
        ("POST", "/metrics", Attributes("post", path="/metrics")),
    ],
)
def test_a_request_is_about(method: str, target: str, wanted: Attributes) -> None:
    assert attributes_of(request(method, target)) == wanted


@pytest.mark.parametrize(
    ("target", "path", "name"),
    [
        ("/api/v1/watch/pods", "/api/v1/pods", ""),
        ("/api/v1/watch/namespaces", "/api/v1/namespaces", ""),
        ("/api/v1/watch/namespaces/a", "/api/v1/namespaces", "a"),
        ("/api/v1/watch/namespaces/a/pods?watch=0&limit=1", "/api/v1/namespaces/a/pods", ""),
        ("/apis/apps/v1/watch/namespaces/a/deployments/d", "/apis/apps/v1/namespaces/a/deployments", "d"),
    ],
)
def test_the_old_paths_of_watches_are_about_a_collection(target: str, path: str, name: str) -> None:
    found = watch_of(request("GET", target))
    assert found is not None
    assert (found[0].path, found[0].query, found[1]) == (path, target.partition("?")[2], name)


@pytest.mark.parametrize("path", ["/api/v1/pods", "/api/v1/watch", "/apis/apps/watch/pods", "/api/watch/v1/pods"])
def test_other_paths_are_none_of_a_watch(path: str) -> None:
    assert watch_of(request("GET", path)) is None
