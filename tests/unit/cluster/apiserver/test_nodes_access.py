"""What kubelets may do: the Node authorizer and NodeRestriction."""

from kubedyno.base import aio
from kubedyno.cluster.apiserver.authentication import AUTHENTICATED, User
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.kube.resources import by_kind
from unit.cluster.apiserver.harness import NS, running

KUBELET = User("system:node:n1", ("system:nodes", AUTHENTICATED))
TOKEN = "kubelet"
MERGE = {"content-type": "application/merge-patch+json"}
PLAIN = [{"name": "c", "image": "i"}]
POD = {
    "containers": [{"name": "c", "image": "i", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}]}],
    "volumes": [
        {"name": "a", "secret": {"secretName": "volume"}}, {"name": "b", "configMap": {"name": "map"}},
        {"name": "d", "projected": {"sources": [{"secret": {"name": "projected"}}]}},
    ],
}  # fmt: skip


def prepare(api):
    api.server._authenticator._by_header[f"Bearer {TOKEN}"] = KUBELET
    for obj in bootstrap_objects():
        resource = by_kind(obj["apiVersion"], obj["kind"])
        if obj["apiVersion"].startswith("rbac") and resource is not None and not resource.namespaced:
            api.registry.create(resource, "", obj)
    for name in ("n1", "n2"):
        assert api.call("POST", "/api/v1/nodes", {"metadata": {"name": name}}).status == 201
    for name in ("env", "volume", "projected", "other"):
        api.call("POST", f"/api/v1/namespaces/{NS}/secrets", {"metadata": {"name": name}})
    others = {**POD, "volumes": [{"name": "a", "secret": {"secretName": "other"}}], "containers": PLAIN}
    for name, node, parts in (("p1", "n1", POD), ("p2", "n2", others)):
        spec = {**parts, "nodeName": node}
        answer = api.call("POST", f"/api/v1/namespaces/{NS}/pods", {"metadata": {"name": name}, "spec": spec})
        assert answer.status == 201, answer.json


def kubelet(test):
    """Make a plain test of a function that takes an API server whose node n1 has a kubelet."""

    def plain():
        async def inside():
            async with running() as api:
                prepare(api)
                test(api)

        aio.run(inside())

    plain.__name__ = test.__name__
    return plain


def ask(api, method, path, body=None, headers=None):
    return api.call(method, path, body, headers, token=TOKEN)


@kubelet
def test_a_kubelet_reads_what_its_pods_refer_to_and_nothing_else(api):
    secrets = f"/api/v1/namespaces/{NS}/secrets"
    for name in ("env", "volume", "projected"):
        assert ask(api, "GET", f"{secrets}/{name}").status == 200, name
    answer = ask(api, "GET", f"{secrets}/other")
    assert answer.status == 403
    assert answer.json["message"] == (
        'secrets "other" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace '
        f"\"{NS}\": no relationship found between node 'n1' and this object"
    )
    assert ask(api, "GET", secrets).json["message"].endswith(": No Object name found")
    assert ask(api, "GET", f"{secrets}?fieldSelector=metadata.name%3Denv").status == 200
    assert ask(api, "GET", f"/api/v1/namespaces/{NS}/configmaps/map").status == 404, "it may, but there is none"


@kubelet
def test_a_kubelet_sees_its_own_pods_and_node(api):
    pods = f"/api/v1/namespaces/{NS}/pods"
    assert [ask(api, "GET", f"{pods}/{name}").status for name in ("p1", "p2")] == [200, 403]
    assert ask(api, "GET", "/api/v1/pods").status == 403
    assert ask(api, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").status == 200
    assert [ask(api, "GET", f"/api/v1/nodes/{name}").status for name in ("n1", "n2")] == [200, 403]
    assert ask(api, "GET", "/api/v1/services").status == 200, "the role says so"
    assert ask(api, "POST", f"/api/v1/namespaces/{NS}/configmaps", {"metadata": {"name": "x"}}).status == 403


@kubelet
def test_a_kubelet_changes_its_own_node_without_what_is_the_clusters(api):
    def patch(name, body, part=""):
        answer = ask(api, "PATCH", f"/api/v1/nodes/{name}{part}", body, MERGE)
        return answer.status, answer.json.get("message", "")

    assert patch("n1", {"metadata": {"labels": {"mine": "1", "kubernetes.io/os": "linux"}}})[0] == 200
    assert patch("n2", {"metadata": {"labels": {"mine": "1"}}}) == (
        403, 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"',
    )  # fmt: skip
    assert patch("n1", {"metadata": {"labels": {"node-role.kubernetes.io/x": ""}}}) == (
        403, 'nodes "n1" is forbidden: is not allowed to modify labels: node-role.kubernetes.io/x',
    )  # fmt: skip
    assert patch("n1", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}})[1].endswith(
        "is not allowed to modify taints"
    )
    assert patch("n1", {"status": {"phase": "Running"}}, "/status")[0] == 200
    assert patch("n2", {"status": {"phase": "Running"}}, "/status")[0] == 403


@kubelet
def test_a_kubelet_creates_mirrors_and_deletes_its_own_pods(api):
    pods = f"/api/v1/namespaces/{NS}/pods"
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n1"}
    plain = ask(api, "POST", pods, {"metadata": {"name": "m"}, "spec": spec})
    assert 'does not have "kubernetes.io/config.mirror" annotation' in plain.json["message"]
    mirror = {"metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": spec}
    assert ask(api, "POST", pods, mirror).status == 201
    assert [ask(api, "DELETE", f"{pods}/{name}").status for name in ("p1", "p2")] == [200, 403]
    assert [
        ask(api, "PATCH", f"{pods}/{name}/status", {"status": {"phase": "Failed"}}, MERGE).status
        for name in ("m", "p2")
    ] == [200, 403]


@kubelet
def test_a_kubelet_evicts_its_own_pods(api):
    def evict(name):
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return ask(api, "POST", f"/api/v1/namespaces/{NS}/pods/{name}/eviction", body)

    assert evict("p2").json["message"].endswith('node "n1" can only evict pods with spec.nodeName set to itself')
    assert evict("p1").status == 201


@kubelet
def test_a_kubelet_has_one_lease(api):
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "kube-node-lease"}})
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    assert [ask(api, "POST", leases, {"metadata": {"name": name}}).status for name in ("n1", "n2")] == [201, 403]
    assert [ask(api, "GET", f"{leases}/{name}").status for name in ("n1", "n2")] == [200, 403]


@kubelet
def test_tokens_are_for_accounts_of_its_pods(api):
    path = f"/api/v1/namespaces/{NS}/serviceaccounts"
    assert ask(api, "POST", f"{path}/default/token", {"spec": {}}).status == 201
    api.call("POST", path, {"metadata": {"name": "other"}})
    assert ask(api, "POST", f"{path}/other/token", {"spec": {}}).status == 403


def test_name_and_group_together_make_a_kubelet():
    assert (KUBELET.node, User("system:node:x", (AUTHENTICATED,)).node) == ("n1", "")
