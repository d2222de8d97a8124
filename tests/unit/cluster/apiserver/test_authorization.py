"""Who may do what: roles, bindings, impersonation, reviews, tokens."""

import base64
from typing import Any

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.authorization import Attributes, Authorizer, Rule
from kubedyno.cluster.apiserver.tokens import ISSUER
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube.resources import SERVICEACCOUNTS
from unit.cluster.apiserver.harness import NS, START_S, Api, running

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = f"/api/v1/namespaces/{NS}/pods"
AS_BOB = {"impersonate-user": "bob"}


def allow(api: Api, name: str, verbs: list[str], resources: list[str], subject: dict[str, Any], **more: Any) -> None:
    """Give a subject a role in the namespace."""
    rule = {"apiGroups": [""], "resources": resources, "verbs": verbs, **more}
    role = {"metadata": {"name": name}, "rules": [rule]}
    assert api.call("POST", f"{RBAC}/namespaces/{NS}/roles", role).status == 201
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [subject],
    }
    assert api.call("POST", f"{RBAC}/namespaces/{NS}/rolebindings", binding).status == 201


BOB = {"kind": "User", "name": "bob"}


def test_nobody_may_anything_without_a_role(api):
    answer = api.call("GET", PODS, headers=AS_BOB)
    assert answer.status == 403
    assert answer.json["message"] == (
        'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "ns"'
    )
    assert answer.json["details"] == {"kind": "pods"}


def test_a_binding_counts_at_once_and_until_it_goes(api):
    assert api.call("GET", PODS, headers=AS_BOB).status == 403
    allow(api, "reader", ["list"], ["pods"], BOB)
    assert api.call("GET", PODS, headers=AS_BOB).status == 200
    assert api.call("GET", f"{PODS}/x", headers=AS_BOB).status == 403
    assert api.call("DELETE", f"{RBAC}/namespaces/{NS}/rolebindings/reader").status == 200
    assert api.call("GET", PODS, headers=AS_BOB).status == 403


def test_a_changed_role_counts_at_once(api):
    allow(api, "reader", ["list"], ["pods"], BOB)
    assert api.call("GET", f"{PODS}/x", headers=AS_BOB).status == 403
    patch = [{"op": "add", "path": "/rules/0/verbs/-", "value": "get"}]
    path, media = f"{RBAC}/namespaces/{NS}/roles/reader", {"content-type": "application/json-patch+json"}
    assert api.call("PATCH", path, patch, media).status == 200
    assert api.call("GET", f"{PODS}/x", headers=AS_BOB).status == 404


def test_a_role_of_one_namespace_counts_only_there(api):
    allow(api, "reader", ["list"], ["pods"], BOB)
    assert api.call("GET", "/api/v1/pods", headers=AS_BOB).status == 403
    assert api.call("GET", "/api/v1/namespaces/other/pods", headers=AS_BOB).status == 403


def test_a_role_that_is_not_there_is_named(api):
    allow(api, "reader", ["list"], ["pods"], BOB)
    assert api.call("DELETE", f"{RBAC}/namespaces/{NS}/roles/reader").status == 200
    message = api.call("GET", PODS, headers=AS_BOB).json["message"]
    assert message.endswith('in the namespace "ns": RBAC: role.rbac.authorization.k8s.io "reader" not found')
    assert "RBAC" not in api.call("GET", PODS, headers={"impersonate-user": "eve"}).json["message"]


def test_a_watch_is_not_a_list(api):
    allow(api, "reader", ["list"], ["pods"], BOB)
    for query in ("watch", "watch=", "watch=1"):
        # Served as a watch, so it has to be allowed as one.
        assert api.call("GET", f"{PODS}?{query}", headers=AS_BOB).status == 403
    assert api.call("GET", f"{PODS}?watch=false", headers=AS_BOB).status == 200
    answer = api.call("GET", f"{PODS}?watch=true", headers=AS_BOB)
    assert answer.status == 403
    assert 'cannot watch resource "pods"' in answer.json["message"]


def test_who_may_read_one_object_may_list_and_watch_it_by_its_name(api):
    allow(api, "one", ["list"], ["configmaps"], BOB, resourceNames=["a"])
    path = f"/api/v1/namespaces/{NS}/configmaps"
    assert api.call("GET", f"{path}?fieldSelector=metadata.name%3Da", headers=AS_BOB).status == 200
    assert api.call("GET", path, headers=AS_BOB).status == 403
    refused = api.call("GET", f"{path}?fieldSelector=metadata.name%3Db", headers=AS_BOB)
    assert (refused.status, refused.json["details"]) == (403, {"name": "b", "kind": "configmaps"})


def test_names_limit_a_rule(api):
    allow(api, "one", ["get"], ["configmaps"], BOB, resourceNames=["a"])
    path = f"/api/v1/namespaces/{NS}/configmaps"
    assert api.call("GET", f"{path}/a", headers=AS_BOB).status == 404
    assert api.call("GET", f"{path}/b", headers=AS_BOB).status == 403


@pytest.mark.parametrize(
    ("resources", "subresource", "allowed"),
    [
        (["pods"], "", True),
        (["pods"], "log", False),
        (["pods/log"], "log", True),
        (["pods/log"], "", False),
        (["*"], "log", True),
        (["*/log"], "log", True),
        (["*/log"], "", False),
        (["pods/*"], "log", False),
    ],
)
def test_subresources_are_named_on_their_own(resources, subresource, allowed):
    rule = Rule.of({"verbs": ["get"], "apiGroups": [""], "resources": resources})
    assert rule.allows(Attributes("get", "", "pods", subresource)) is allowed


@pytest.mark.parametrize(
    ("url", "path", "allowed"),
    [
        ("/metrics", "/metrics", True),
        ("/metrics", "/metrics/slis", False),
        ("/api/*", "/api/v1", True),
        ("*", "/x", True),
    ],
)
def test_paths_are_allowed_by_rules_too(url, path, allowed):
    rule = Rule.of({"verbs": ["get"], "nonResourceURLs": [url]})
    assert rule.allows(Attributes("get", path=path)) is allowed


def test_a_path_that_may_not_be_read_says_so(api):
    answer = api.call("GET", "/metrics", headers=AS_BOB)
    assert (answer.status, answer.json["message"]) == (403, 'forbidden: User "bob" cannot get path "/metrics"')


def test_anonymous_reads_health_alone(api):
    assert api.call("GET", "/livez", token=None).status == 200
    assert api.call("GET", "/api", token=None).status == 403


def test_always_allow_lets_everybody_who_is_known(api):
    authorizer = Authorizer(api.store, always=True)
    assert authorizer.allows(User("bob"), Attributes("get", "", "secrets"))
    assert not authorizer.allows(User("system:anonymous"), Attributes("get", "", "secrets"))


def test_rbac_is_the_default():
    assert ClusterSettings().authorization == "Node,RBAC"


def test_who_may_only_patch_creates_nothing(api):
    allow(api, "patcher", ["patch", "update"], ["configmaps"], BOB)
    allow(api, "leases", ["update"], ["leases"], BOB, apiGroups=["*"])
    headers = {"content-type": "application/apply-patch+yaml", **AS_BOB}
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    path = f"/api/v1/namespaces/{NS}/configmaps/a?fieldManager=x"
    answer = api.call("PATCH", path, applied, headers)
    assert answer.status == 403
    assert 'cannot create resource "configmaps"' in answer.json["message"]
    lease = {"metadata": {"name": "a"}}
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{NS}/leases/a"
    assert api.call("PUT", leases, lease, AS_BOB).status == 403
    assert api.call("PATCH", path, applied, {"content-type": headers["content-type"]}).status == 201
    assert api.call("PATCH", path, applied, headers).status == 200


# --- impersonation -------------------------------------------------------------------------------------------------


def test_who_may_impersonate_is_taken_for_the_other(api):
    headers = {"impersonate-user": "eve", "impersonate-group": "a, b", "impersonate-uid": "u1"}
    headers["impersonate-extra-scopes"] = "x"
    review = api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, headers)
    # Everybody may ask who they are only by a role; the admin's own groups are gone.
    assert review.status == 403
    headers["impersonate-group"] = "system:masters"
    info = api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, headers).json["status"]["userInfo"]
    assert info == {
        "username": "eve",
        "uid": "u1",
        "groups": ["system:masters", "system:authenticated"],
        "extra": {"scopes": ["x"]},
    }


def test_impersonation_needs_a_role_of_its_own(api):
    with_token = api.server._tokens.issue(account(api), [ISSUER], 600)
    answer = api.call("GET", PODS, headers={"impersonate-user": "eve"}, token=with_token)
    assert answer.status == 403
    assert answer.json["message"] == (
        'pods is forbidden: User "system:serviceaccount:ns:default" cannot impersonate-on:user-info:list resource "pods" '
        'in API group "" in the namespace "ns"'
    )


def test_before_there_were_modes_of_impersonation_the_user_is_what_is_refused():
    api = Api(settings=ClusterSettings(version="1.33"))
    with_token = api.server._tokens.issue(account(api), [ISSUER], 600)
    answer = api.call("GET", PODS, headers={"impersonate-user": "eve"}, token=with_token)
    assert answer.json["message"] == (
        'users "eve" is forbidden: User "system:serviceaccount:ns:default" cannot impersonate resource "users" in API '
        'group "" at the cluster scope'
    )


def grant(api: Api, name: str, rule: dict[str, Any], subject: dict[str, Any]) -> None:
    """Give a subject a role in the whole cluster."""
    assert api.call("POST", f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule]}).status == 201
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    assert api.call("POST", f"{RBAC}/clusterrolebindings", binding).status == 201


def test_who_may_impersonate_in_a_mode_may_do_so_for_the_requests_that_are_named_alone():
    async def scene():
        async with running() as api:
            me = {"kind": "ServiceAccount", "name": "default", "namespace": NS}
            with_token = api.server._tokens.issue(account(api), [ISSUER], 600)
            users = {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"]}
            grant(api, "as-eve", {**users, "resourceNames": ["eve"]}, me)
            allow(api, "on", ["impersonate-on:user-info:list"], ["pods"], me)
            allow(api, "pods", ["list", "get"], ["pods"], {"kind": "User", "name": "eve"})
            as_eve = {"impersonate-user": "eve"}
            assert api.call("GET", PODS, headers=as_eve, token=with_token).status == 200
            assert api.call("GET", f"{PODS}/x", headers=as_eve, token=with_token).status == 403
            assert api.call("GET", PODS, headers={"impersonate-user": "bob"}, token=with_token).status == 403
            # A kubelet's user is another mode's matter.
            assert (
                api.call("GET", PODS, headers={"impersonate-user": "system:node:eve"}, token=with_token).status == 403
            )

    aio.run(scene())


def test_a_role_in_a_namespace_may_be_about_the_namespace_itself(api):
    allow(api, "namespace", ["get"], ["namespaces"], BOB)
    assert api.call("GET", f"/api/v1/namespaces/{NS}", headers=AS_BOB).status == 200
    assert api.call("GET", "/api/v1/namespaces/other", headers=AS_BOB).status == 403


def test_what_is_not_served_is_refused_like_what_is(api):
    answer = api.call("GET", f"/apis/nope.io/v1/namespaces/{NS}/things/x", headers=AS_BOB)
    assert answer.status == 403
    assert answer.json["message"] == (
        'things.nope.io "x" is forbidden: User "bob" cannot get resource "things" in API group "nope.io" in the '
        'namespace "ns"'
    )
    assert api.call("GET", "/livez/ping", headers=AS_BOB).status == 403
    assert api.call("GET", "/livez", headers=AS_BOB).status == 200


def test_rules_are_gathered_by_those_alone_who_have_all_rules():
    async def scene():
        async with running() as api:
            grant(api, "roles", {"apiGroups": ["*"], "resources": ["clusterroles"], "verbs": ["create"]}, BOB)
            rule = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
            body = {"metadata": {"name": "all"}, "rules": None, "aggregationRule": rule}
            answer = api.call("POST", f"{RBAC}/clusterroles", body, AS_BOB)
            assert answer.status == 403
            assert answer.json["message"].endswith("must have cluster-admin privileges to use the aggregationRule")
            grant(api, "everything", {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, BOB)
            grant(api, "every-path", {"nonResourceURLs": ["*"], "verbs": ["*"]}, BOB)
            assert api.call("POST", f"{RBAC}/clusterroles", body, AS_BOB).status == 201

    aio.run(scene())


def test_an_impersonated_account_has_its_groups(api):
    allow(api, "all", ["list"], ["pods"], {"kind": "Group", "name": "system:serviceaccounts:ns"})
    who = {"impersonate-user": "system:serviceaccount:ns:robot"}
    assert api.call("GET", PODS, headers=who).status == 200


# --- reviews -------------------------------------------------------------------------------------------------------


def test_access_reviews_answer_from_roles(api):
    allow(api, "reader", ["list"], ["pods"], BOB)
    asked = {"verb": "list", "resource": "pods", "namespace": NS}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    status = api.call("POST", path, {"spec": {"user": "bob", "resourceAttributes": asked}}).json["status"]
    assert status["allowed"] is True
    assert status["reason"] == 'RBAC: allowed by RoleBinding "reader/ns" of Role "reader" to User "bob"'
    other = {"spec": {"user": "eve", "resourceAttributes": asked}}
    assert api.call("POST", path, other).json["status"] == {"allowed": False}
    local = f"/apis/authorization.k8s.io/v1/namespaces/{NS}/localsubjectaccessreviews"
    assert api.call("POST", local, {"spec": {"user": "bob", "resourceAttributes": asked}}).json["status"]["allowed"]
    elsewhere = {**asked, "namespace": "other"}
    assert api.call("POST", local, {"spec": {"user": "bob", "resourceAttributes": elsewhere}}).status == 422
    assert api.call("POST", path, {"spec": {"user": "bob"}}).status == 422


def test_rules_reviews_list_what_a_user_has():
    async def scene() -> None:
        async with running() as api:
            allow(api, "reader", ["list"], ["pods"], BOB)
            rule = {
                "apiGroups": ["authorization.k8s.io"],
                "resources": ["selfsubjectrulesreviews"],
                "verbs": ["create"],
            }
            role = {"metadata": {"name": "may-ask"}, "rules": [rule]}
            assert api.call("POST", f"{RBAC}/clusterroles", role).status == 201
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "may-ask"}
            binding = {"metadata": {"name": "may-ask"}, "roleRef": reference, "subjects": [BOB]}
            assert api.call("POST", f"{RBAC}/clusterrolebindings", binding).status == 201
            path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
            found = api.call("POST", path, {"spec": {"namespace": NS}}, AS_BOB).json["status"]["resourceRules"]
            assert {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]} in found
            elsewhere = api.call("POST", path, {"spec": {"namespace": "other"}}, AS_BOB).json["status"]
            assert [rule["resources"] for rule in elsewhere["resourceRules"]] == [["selfsubjectrulesreviews"]]

    aio.run(scene())


# --- aggregation ---------------------------------------------------------------------------------------------------


def test_aggregated_roles_have_the_rules_of_others():
    async def scene() -> None:
        async with running() as api:
            selector = {"matchLabels": {"to-big": "true"}}
            big = {"metadata": {"name": "big"}, "aggregationRule": {"clusterRoleSelectors": [selector]}}
            assert api.call("POST", f"{RBAC}/clusterroles", big).status == 201
            rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
            part = {"metadata": {"name": "part", "labels": {"to-big": "true"}}, "rules": [rule]}
            assert api.call("POST", f"{RBAC}/clusterroles", part).status == 201

            async def has(rules: list[dict[str, Any]]) -> None:
                async with aio.timeout(60):
                    while (api.call("GET", f"{RBAC}/clusterroles/big").json["rules"] or []) != rules:
                        await aio.sleep(0.005)

            await has([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])
            assert api.call("DELETE", f"{RBAC}/clusterroles/part").status == 200
            await has([])

    aio.run(scene())


# --- tokens --------------------------------------------------------------------------------------------------------


def account(api: Api) -> Any:
    record = api.store.get(SERVICEACCOUNTS, f"{NS}/default")
    assert record is not None
    return record


def request(api: Api, spec: dict[str, Any], name: str = "default") -> Any:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return api.call("POST", f"/api/v1/namespaces/{NS}/serviceaccounts/{name}/token", body)


def review(api: Api, token: str, **spec: Any) -> Any:
    return api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token, **spec}}).json[
        "status"
    ]


def test_a_token_is_its_account(api):
    answer = request(api, {"expirationSeconds": 600})
    assert answer.status == 201
    status = review(api, answer.json["status"]["token"])
    assert status["authenticated"] is True
    assert status["audiences"] == [ISSUER]
    assert status["user"]["username"] == "system:serviceaccount:ns:default"
    assert status["user"]["uid"] == account(api).obj.uid
    assert "system:serviceaccounts:ns" in status["user"]["groups"]


def test_a_token_authenticates_and_roles_of_the_account_count(api):
    allow(api, "reader", ["list"], ["pods"], {"kind": "ServiceAccount", "name": "default", "namespace": NS})
    token = request(api, {}).json["status"]["token"]
    assert api.call("GET", PODS, token=token).status == 200
    assert api.call("GET", f"/api/v1/namespaces/{NS}/secrets", token=token).status == 403


def test_a_token_expires(api):
    token = request(api, {"expirationSeconds": 600}).json["status"]["token"]
    api.clock.now_s = START_S + 599
    assert api.call("GET", PODS, token=token).status == 403
    api.clock.now_s = START_S + 600
    assert api.call("GET", PODS, token=token).status == 401


def test_a_token_dies_with_its_account(api):
    token = request(api, {}).json["status"]["token"]
    assert api.call("GET", PODS, token=token).status == 403
    assert api.call("DELETE", f"/api/v1/namespaces/{NS}/serviceaccounts/default").status == 200
    assert api.call("GET", PODS, token=token).status == 401
    api.registry.create(SERVICEACCOUNTS, NS, {"metadata": {"name": "default"}})
    assert api.call("GET", PODS, token=token).status == 401


def test_a_token_dies_with_the_secret_that_it_is_bound_to(api):
    path = f"/api/v1/namespaces/{NS}/secrets"
    assert api.call("POST", path, {"metadata": {"name": "s"}}).status == 201
    token = request(api, {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "s"}}).json["status"][
        "token"
    ]
    assert api.call("GET", PODS, token=token).status == 403
    assert api.call("DELETE", f"{path}/s").status == 200
    assert api.call("GET", PODS, token=token).status == 401


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_changed_token_is_nobodys(api, part):
    token = request(api, {}).json["status"]["token"]
    parts = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    raw[len(raw) // 2] ^= 1
    parts[part] = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    assert api.call("GET", PODS, token=".".join(parts)).status == 401
    assert api.call("GET", PODS, token=token).status == 403


@pytest.mark.parametrize("token", ["a.b", "a.b.c", "....", "é.b.c", "x" * 10_000])
def test_what_is_no_token_is_401(api, token):
    assert api.call("GET", PODS, headers={"authorization": f"Bearer {token}"}, token=None).status == 401


def test_a_token_for_others_is_not_for_us(api):
    token = request(api, {"audiences": ["vault"]}).json["status"]["token"]
    assert api.call("GET", PODS, token=token).status == 401
    assert "authenticated" not in review(api, token)
    assert review(api, token, audiences=["vault", "x"])["audiences"] == ["vault"]


@pytest.mark.parametrize(
    ("spec", "status", "text"),
    [
        ({"expirationSeconds": 10}, 422, "may not specify a duration less than 10 minutes"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "no"}}, 404, 'pods "no" not found'),
        ({"boundObjectRef": {"kind": "Service", "apiVersion": "v1", "name": "no"}}, 400, "cannot bind token"),
    ],
)
def test_requests_that_will_not_do_say_why(api, spec, status, text):
    answer = request(api, spec)
    assert answer.status == status
    assert text in answer.json["message"]


def test_no_account_no_token(api):
    assert request(api, {}, "nobody").status == 404


def test_the_key_set_verifies_tokens(api):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    answer = api.call("GET", "/openid/v1/jwks")
    assert answer.media == "application/jwk-set+json"
    (key,) = answer.json["keys"]
    x, y = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "=="), "big") for name in ("x", "y"))
    head, body, signature = request(api, {}).json["status"]["token"].split(".")
    assert orjson.loads(base64.urlsafe_b64decode(head + "=="))["kid"] == key["kid"]
    raw = base64.urlsafe_b64decode(signature + "==")
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    public.verify(der, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    where = api.call("GET", "/.well-known/openid-configuration").json
    assert where["jwks_uri"] == "https://127.0.0.1:6443/openid/v1/jwks"
    assert where["issuer"] == ISSUER


# --- escalation ----------------------------------------------------------------------------------------------------


def test_nobody_grants_what_they_have_not(api):
    allow(api, "roles", ["create", "update", "patch", "get"], ["roles", "rolebindings"], BOB, apiGroups=["*"])
    allow(api, "reader", ["get", "list"], ["pods"], BOB)
    path = f"{RBAC}/namespaces/{NS}/roles"
    own = {"metadata": {"name": "own"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
    assert api.call("POST", path, own, AS_BOB).status == 201
    more = {
        "metadata": {"name": "more"},
        "rules": [{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get"]}],
    }
    answer = api.call("POST", path, more, AS_BOB)
    assert answer.status == 403
    assert answer.json["message"] == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "bob" (groups=["system:authenticated"]) is attempting '
        'to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    patch = [{"op": "add", "path": "/rules/0/verbs/-", "value": "delete"}]
    media = {"content-type": "application/json-patch+json", **AS_BOB}
    assert api.call("PATCH", f"{path}/own", patch, media).status == 403
    label = {"content-type": "application/merge-patch+json", **AS_BOB}
    assert api.call("PATCH", f"{path}/own", {"metadata": {"labels": {"a": "b"}}}, label).status == 200


def test_nobody_binds_a_role_that_has_more(api):
    allow(api, "roles", ["create"], ["rolebindings"], BOB, apiGroups=["*"])
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    assert (
        api.call("POST", f"{RBAC}/namespaces/{NS}/roles", {"metadata": {"name": "all"}, "rules": [rule]}).status == 201
    )
    binding = {
        "metadata": {"name": "mine"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"},
        "subjects": [BOB],
    }
    path = f"{RBAC}/namespaces/{NS}/rolebindings"
    answer = api.call("POST", path, binding, AS_BOB)
    assert answer.status == 403
    assert answer.json["message"].endswith('{APIGroups:["*"], Resources:["*"], Verbs:["*"]}')
    allow(api, "binder", ["bind"], ["roles"], BOB, apiGroups=["*"], resourceNames=["all"])
    assert api.call("POST", path, binding, AS_BOB).status == 201


def test_a_certificate_is_approved_by_who_may_approve_its_signers():
    async def scene() -> None:
        async with running() as api:
            certificate_scene(api)

    aio.run(scene())


def certificate_scene(api: Api) -> None:
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    pem = base64.b64encode(b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n").decode()
    spec = {"request": pem, "signerName": "example.com/x", "usages": ["client auth"]}
    assert api.call("POST", path, {"metadata": {"name": "r"}, "spec": spec}).status == 201

    def grant(name: str, rule: dict[str, Any]) -> None:
        group = "certificates.k8s.io"
        role = {"metadata": {"name": name}, "rules": [{"apiGroups": [group], **rule}]}
        assert api.call("POST", f"{RBAC}/clusterroles", role).status == 201
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [BOB]}
        assert api.call("POST", f"{RBAC}/clusterrolebindings", binding).status == 201

    def approve() -> Any:
        body = {"status": {"conditions": [{"type": "Approved", "status": "True"}]}}
        headers = {**AS_BOB, "content-type": "application/merge-patch+json"}
        return api.call("PATCH", f"{path}/r/approval", body, headers)

    grant("writer", {"resources": ["certificatesigningrequests/approval"], "verbs": ["patch", "update"]})
    answer = approve()
    assert answer.status == 403
    assert 'user not permitted to approve requests with signerName "example.com/x"' in answer.json["message"]
    grant("approver", {"resources": ["signers"], "resourceNames": ["example.com/*"], "verbs": ["approve"]})
    assert approve().status == 200


def test_a_token_request_says_who_owns_what_was_asked_for(api):
    bound = {"kind": "Secret", "apiVersion": "v1", "name": "s"}
    api.call("POST", f"/api/v1/namespaces/{NS}/secrets", {"metadata": {"name": "s"}})
    metadata = {"labels": {"a": "b"}, "annotations": {"c": "d"}}
    body = {"metadata": metadata, "spec": {"boundObjectRef": bound}, "status": {"token": "x"}}
    answer = api.call("POST", f"/api/v1/namespaces/{NS}/serviceaccounts/default/token?fieldManager=me", body)
    given = answer.json["metadata"]
    assert {name: given[name] for name in metadata} == metadata
    (entry,) = given["managedFields"]
    assert (entry["manager"], entry["subresource"]) == ("me", "token")
    assert entry["fieldsV1"]["f:spec"] == {
        "f:boundObjectRef": {"f:apiVersion": {}, "f:kind": {}, "f:name": {}}, "f:expirationSeconds": {},
    }  # fmt: skip
    assert entry["fieldsV1"]["f:status"] == {"f:token": {}}
