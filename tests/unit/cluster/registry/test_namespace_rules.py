"""What namespaces, accounts and classes say to what is created in them: texts and order of a real server's admission."""

from typing import Any

import pytest

from kubedyno.cluster.registry.accounts import TOKEN_VOLUME
from kubedyno.kube.resources import (
    CLAIMS,
    CONFIGMAPS,
    DEPLOYMENTS,
    LIMITRANGES,
    NAMESPACES,
    PODS,
    PRIORITYCLASSES,
    RESOURCEQUOTAS,
    SERVICEACCOUNTS,
    SERVICES,
    by_plural,
)
from kubedyno.kube.status import Forbidden
from unit.cluster.registry.conftest import NS, Cluster, deployment, pod_spec

SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
GOOD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def container(name: str = "c", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "nginx", **more}


def asks(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"resources": {k: v for k, v in (("requests", requests), ("limits", limits)) if v}}


def label(cluster: Cluster, **levels: str) -> None:
    labels = {f"pod-security.kubernetes.io/{name.replace('_', '-')}": level for name, level in levels.items()}

    def relabel(namespace: dict[str, Any]) -> dict[str, Any]:
        metadata = namespace["metadata"]
        return {**namespace, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **labels}}}

    cluster.registry.modify(NAMESPACES, "", NS, relabel)


def why(cluster: Cluster, spec: dict[str, Any], **metadata: Any) -> str:
    """Return why a pod is refused, without the beginning that all share."""
    with pytest.raises(Forbidden) as caught:
        cluster.create(PODS, spec=spec, metadata=metadata)
    return caught.value.message.removeprefix('pods "x" is forbidden: ')


def quota(cluster: Cluster, name: str = "q", **spec: Any) -> None:
    cluster.create(RESOURCEQUOTAS, name, spec=spec)


def limit(cluster: Cluster, kind: str, name: str = "l", **item: Any) -> None:
    cluster.create(LIMITRANGES, name, spec={"limits": [{"type": kind, **item}]})


# --- Pod Security ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "detail"),
    [
        (
            {"containers": [container("b", livenessProbe={"httpGet": {"port": 1, "host": "h"}}),
                            container("a", lifecycle={"preStop": {"httpGet": {"port": 1, "host": "g"}}})]},
            'probe or lifecycle host (containers "a", "b" use probe or lifecycle hosts "g", "h")',
        ),
        (
            {"containers": [container(ports=[{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 10}])]},
            'hostPort (container "c" uses hostPorts 10, 9)',
        ),
        (
            {"initContainers": [container("i", securityContext={"capabilities": {"add": ["SYS_TIME", "NET_ADMIN"]}})],
             "containers": [container(securityContext={"privileged": True})]},
            ('non-default capabilities (container "i" must not include "NET_ADMIN", "SYS_TIME" in '
            'securityContext.capabilities.add), privileged (container "c" must not set securityContext.privileged=true)'),
        ),
        (
            {"containers": [container(securityContext={"seLinuxOptions": {"type": "y", "user": "u", "role": "r"}}),
                            container("d")], "securityContext": {"seLinuxOptions": {"type": "z"}}},
            ('seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: types "y", "z"; '
            "user may not be set; role may not be set)"),
        ),
        (
            {"containers": [container()], "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
            "forbidden sysctls (kernel.msgmax)",
        ),
    ],
)  # fmt: skip
def test_what_baseline_forbids(cluster, spec, detail):
    label(cluster, enforce="baseline")
    assert why(cluster, spec) == f'violates PodSecurity "baseline:latest": {detail}'


def test_what_restricted_forbids_of_a_pod_and_its_containers_together(cluster):
    label(cluster, enforce="restricted")
    spec = {
        "containers": [
            container(securityContext=SAFE),
            container("d", securityContext={**SAFE, "runAsNonRoot": False}),
        ],
        "securityContext": {"runAsNonRoot": False, "seccompProfile": {"type": "Unconfined"}, "runAsUser": 0},
        "volumes": [{"name": "n", "nfs": {"server": "s", "path": "/"}}, {"name": "h", "hostPath": {"path": "/"}}],
    }
    assert why(cluster, spec) == (
        'violates PodSecurity "restricted:latest": restricted volume types (volumes "n", "h" use restricted volume types '
        '"hostPath", "nfs"), runAsNonRoot != true (pod and container "d" must not set securityContext.runAsNonRoot=false), '
        "runAsUser=0 (pod must not set runAsUser=0), "
        'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'
    )


@pytest.mark.parametrize(
    ("version", "detail"),
    [
        ("v1.7", 'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)'),
        (
            "v1.20",
            (
                'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
                'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or '
                'container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
            ),
        ),
    ],
)
def test_a_version_has_the_rules_of_its_time(cluster, version, detail):
    label(cluster, enforce="restricted", enforce_version=version)
    assert why(cluster, {"containers": [container()]}) == f'violates PodSecurity "restricted:{version}": {detail}'


def test_hosts_of_probes_were_let_pass_before_1_34(cluster):
    label(cluster, enforce="baseline", enforce_version="v1.33")
    cluster.create(PODS, spec={"containers": [container(livenessProbe={"tcpSocket": {"port": 1, "host": "h"}})]})


def test_who_has_users_of_its_own_may_be_root_inside(cluster):
    label(cluster, enforce="restricted")
    spec = {"hostUsers": False, "containers": [container(securityContext=SAFE)],
            "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}}  # fmt: skip
    cluster.create(PODS, spec=spec)


def test_a_pod_is_looked_at_again_when_its_image_changes(cluster):
    cluster.create(PODS, spec=pod_spec(hostPID=True))
    label(cluster, enforce="baseline")

    def noted(pod: dict[str, Any]) -> dict[str, Any]:
        return {**pod, "metadata": {**pod["metadata"], "labels": {"a": "b"}}}

    def moved(pod: dict[str, Any]) -> dict[str, Any]:
        containers = [{**pod["spec"]["containers"][0], "image": "nginx:2"}]
        return {**pod, "spec": {**pod["spec"], "containers": containers}}

    cluster.registry.modify(PODS, NS, "x", noted)
    with pytest.raises(Forbidden, match=r'violates PodSecurity "baseline:latest": host namespaces \(hostPID=true\)'):
        cluster.registry.modify(PODS, NS, "x", moved)


def test_what_is_enforced_on_pods_is_warned_of_for_workloads(cluster):
    label(cluster, enforce="baseline", enforce_version="v1.30")
    warnings: list[str] = []
    spec = deployment()
    spec["spec"]["template"]["spec"]["hostNetwork"] = True
    cluster.registry.create(DEPLOYMENTS, NS, spec, warnings=warnings)
    assert warnings == ['would violate PodSecurity "baseline:v1.30": host namespaces (hostNetwork=true)']


def test_a_new_level_tells_of_the_pods_that_are_there(cluster):
    for name in ("b", "a", "c"):
        cluster.create(PODS, name, spec=pod_spec(hostPID=True))
    rules = cluster.registry.rules
    enforce = "pod-security.kubernetes.io/enforce"
    assert rules.relabel_warnings(NS, {enforce: "baseline"}, {}) == [
        f'existing pods in namespace "{NS}" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 2 other pods): host namespaces",
    ]
    assert rules.relabel_warnings(NS, {enforce: "baseline"}, {enforce: "restricted"}) == []


# --- LimitRange --------------------------------------------------------------------------------------------------


def test_limit_ranges_fill_in_one_after_the_other_and_say_so(cluster):
    limit(cluster, "Container", "a", default={"cpu": "1"}, defaultRequest={"cpu": "100m"})
    limit(cluster, "Container", "b", defaultRequest={"cpu": "200m", "memory": "1Mi"})
    cluster.create(PODS, spec={"containers": [container()], "initContainers": [container("i")]})
    pod = cluster.get(PODS)
    wanted = {"requests": {"cpu": "100m", "memory": "1Mi"}, "limits": {"cpu": "1"}}
    assert pod["spec"]["containers"][0]["resources"] == pod["spec"]["initContainers"][0]["resources"] == wanted
    note = pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
    assert note == "LimitRanger plugin set: memory request for container c; memory request for init container i"


@pytest.mark.parametrize(
    ("kind", "item", "resources", "text"),
    [
        ("Container", {"min": {"cpu": "100m"}, "max": {"memory": "1Gi"}}, asks({"cpu": "50m"}, {"memory": "2Gi"}),
         ("[minimum cpu usage per Container is 100m, but request is 50m, "
         "maximum memory usage per Container is 1Gi, but limit is 2Gi]")),
        ("Container", {"maxLimitRequestRatio": {"cpu": "2"}}, asks({"cpu": "100m"}, {"cpu": "300m"}),
         "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
        ("Container", {"maxLimitRequestRatio": {"cpu": "2"}}, asks({"cpu": "100m"}),
         "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0"),
        ("Pod", {"max": {"memory": "1Gi"}}, asks({"memory": "1Gi"}),
         "maximum memory usage per Pod is 1Gi.  No limit is specified"),
        ("Pod", {"min": {"memory": "1Gi"}}, asks(None, {"cpu": "1"}),
         "minimum memory usage per Pod is 1Gi.  No request is specified"),
    ],
)  # fmt: skip
def test_what_a_limit_range_forbids(cluster, kind, item, resources, text):
    limit(cluster, kind, **item)
    assert why(cluster, {"containers": [container(**resources)]}) == text


# --- ResourceQuota -----------------------------------------------------------------------------------------------


def test_what_every_quota_wants_said_is_asked_before_any_is_exceeded(cluster):
    quota(cluster, "a", hard={"pods": "0"})
    quota(cluster, "b", hard={"requests.memory": "1Gi", "limits.cpu": "1"})
    spec = {"containers": [container("d"), container(**asks({"memory": "1Mi"}))]}
    assert why(cluster, spec) == "failed quota: b: must specify limits.cpu for: c,d; requests.memory for: d"


def test_all_that_is_exceeded_is_named(cluster):
    quota(cluster, hard={"requests.cpu": "1", "requests.memory": "1Gi", "pods": "1"})
    spec = {"containers": [container(**asks({"cpu": "600m", "memory": "512Mi"}))]}
    cluster.create(PODS, "y", spec=spec)
    assert why(cluster, spec) == (
        "exceeded quota: q, requested: pods=1,requests.cpu=600m, used: pods=1,requests.cpu=600m, "
        "limited: pods=1,requests.cpu=1"
    )


def test_a_quota_is_said_before_the_name_is_taken(cluster):
    quota(cluster, hard={"pods": "1"})
    cluster.create(PODS, spec=pod_spec())
    assert why(cluster, pod_spec()).startswith("exceeded quota: q, requested: pods=1")


@pytest.mark.parametrize(
    ("expression", "limited"),
    [
        ({"operator": "In", "values": ["high", "low"]}, True),
        ({"operator": "In", "values": ["low"]}, False),
        ({"operator": "NotIn", "values": ["high"]}, False),
        ({"operator": "Exists"}, True),
        ({"operator": "DoesNotExist"}, False),
    ],
)
def test_a_quota_for_priority_classes_is_about_pods_that_match(cluster, expression, limited):
    cluster.create(PRIORITYCLASSES, "high", namespace="", value=7)
    selector = {"matchExpressions": [{"scopeName": "PriorityClass", **expression}]}
    quota(cluster, hard={"pods": "0", "count/configmaps": "0"}, scopeSelector=selector)
    spec = pod_spec(priorityClassName="high")
    if limited:
        assert why(cluster, spec).startswith("exceeded quota: q, requested: pods=1")
    else:
        cluster.create(PODS, spec=spec)
    # A scope is about pods: what has none of it is not counted.
    cluster.create(CONFIGMAPS)


def test_scopes_of_quality_and_deadlines(cluster):
    quota(cluster, "best", hard={"pods": "0"}, scopes=["BestEffort"])
    quota(cluster, "ends", hard={"pods": "0"}, scopes=["Terminating", "NotBestEffort"])
    some = {"containers": [container(**asks({"cpu": "1"}))]}
    assert why(cluster, pod_spec()).startswith("exceeded quota: best")
    assert why(cluster, {**some, "activeDeadlineSeconds": 5}).startswith("exceeded quota: ends")
    cluster.create(PODS, spec=some)


def test_counts_of_objects_of_any_kind(cluster):
    quota(cluster, hard={"count/deployments.apps": "0", "count/configmaps": "1", "configmaps": "1"})
    with pytest.raises(Forbidden, match=r'deployments\.apps "d" is forbidden: exceeded quota: q, requested: count/dep'):
        cluster.registry.create(DEPLOYMENTS, NS, deployment())
    cluster.create(CONFIGMAPS)
    with pytest.raises(Forbidden) as caught:
        cluster.create(CONFIGMAPS, "y")
    assert caught.value.message.endswith(
        "requested: configmaps=1,count/configmaps=1, used: configmaps=1,count/configmaps=1, "
        "limited: configmaps=1,count/configmaps=1"
    )


def test_quotas_of_storage_classes(cluster):
    gold = "gold.storageclass.storage.k8s.io/"
    quota(
        cluster,
        hard={gold + "requests.storage": "3Gi", gold + "persistentvolumeclaims": "2", "requests.storage": "9Gi"},
    )

    def claim(name: str, size: str, storage_class: str) -> None:
        wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        cluster.create(CLAIMS, name, spec={**wanted, "storageClassName": storage_class})

    claim("a", "2Gi", "gold")
    claim("b", "5Gi", "silver")
    with pytest.raises(Forbidden) as caught:
        claim("c", "2Gi", "gold")
    assert caught.value.message.endswith(f"requested: {gold}requests.storage=2Gi, used: {gold}requests.storage=2Gi, "
                                         f"limited: {gold}requests.storage=3Gi")  # fmt: skip
    with pytest.raises(Forbidden, match=r"requested: requests\.storage=3Gi, used: requests\.storage=7Gi"):
        claim("c", "3Gi", "silver")


def test_node_ports_of_services_are_counted_when_their_type_changes(cluster):
    quota(cluster, hard={"services.nodeports": "1"})
    cluster.create(SERVICES, spec={"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]})

    def opened(service: dict[str, Any]) -> dict[str, Any]:
        return {**service, "spec": {**service["spec"], "type": "NodePort"}}

    with pytest.raises(Forbidden, match=r"requested: services\.nodeports=2, used: services\.nodeports=0, limited"):
        cluster.registry.modify(SERVICES, NS, "x", opened)


def test_what_uses_none_of_what_is_over_may_come(cluster):
    cluster.create(SERVICES, "before", spec={"type": "NodePort", "ports": [{"port": 1}]})
    quota(cluster, hard={"services.nodeports": "0"})
    cluster.create(SERVICES, spec={"ports": [{"port": 1}]})


def test_devices_of_claims_are_counted_by_their_class(cluster):
    claims = by_plural("resource.k8s.io", "v1", "resourceclaims")
    name = "gpu.deviceclass.resource.k8s.io/devices"
    quota(cluster, hard={name: "3"})
    requests = [{"name": "r", "exactly": {"deviceClassName": "gpu", "count": 2}}]
    cluster.create(claims, spec={"devices": {"requests": requests}})
    with pytest.raises(Forbidden, match=f"requested: {name}=2, used: {name}=2, limited: {name}=3"):
        cluster.create(claims, "y", spec={"devices": {"requests": requests}})


# --- service accounts, classes, namespaces -----------------------------------------------------------------------


def account(cluster: Cluster, **parts: Any) -> None:
    cluster.create(SERVICEACCOUNTS, "sa", **parts)


@pytest.mark.parametrize(("said", "mounted"), [({}, False), ({"automountServiceAccountToken": True}, True)])
def test_an_account_may_keep_its_token_unless_the_pod_wants_it(cluster, said, mounted):
    account(cluster, automountServiceAccountToken=False)
    spec = pod_spec(serviceAccountName="sa", **said)
    cluster.create(PODS, spec=spec)
    template = cluster.trusted.pod_template({"spec": spec})
    made = cluster.trusted.create_pod(NS, template, name="made")
    for pod in (cluster.get(PODS), cluster.store.encode_dict(PODS, made)):
        volumes = [v["name"] for v in pod["spec"].get("volumes", ())]
        assert any(v.startswith(TOKEN_VOLUME) for v in volumes) is mounted
        assert bool(pod["spec"]["containers"][0].get("volumeMounts")) is mounted


def test_an_account_may_name_the_only_secrets(cluster):
    enforced = {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}
    account(cluster, metadata=enforced, secrets=[{"name": "s"}])
    env = [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}]
    spec = {"containers": [container(env=env)], "serviceAccountName": "sa"}
    tail = "is not allowed because service account sa does not reference that"
    assert why(cluster, spec) == f'container c with envVar E referencing secret.secretName="t" {tail} secret'
    spec = pod_spec(serviceAccountName="sa", volumes=[{"name": "v", "secret": {"secretName": "u"}}])
    assert why(cluster, spec) == f'volume with secret.secretName="u" {tail} secret'
    spec = pod_spec(serviceAccountName="sa", imagePullSecrets=[{"name": "p"}])
    assert why(cluster, spec) == f'imagePullSecrets[0].name="p" {tail} imagePullSecret'
    spec = {"containers": [container(envFrom=[{"secretRef": {"name": "q"}}])], "serviceAccountName": "sa"}
    assert why(cluster, spec) == f'container c with envFrom referencing secret.secretName="q" {tail} secret'
    cluster.create(PODS, spec=pod_spec(serviceAccountName="sa", volumes=[{"name": "v", "secret": {"secretName": "s"}}]))


def test_a_mirror_pod_has_neither_account_nor_secrets(cluster):
    mirror = {"annotations": {"kubernetes.io/config.mirror": "h"}}
    text = "a mirror pod may not reference service accounts"
    assert why(cluster, pod_spec(serviceAccountName="default", nodeName="n"), **mirror) == text
    spec = pod_spec(nodeName="n", volumes=[{"name": "v", "secret": {"secretName": "s"}}])
    assert why(cluster, spec, **mirror) == "a mirror pod may not reference secrets"


def test_an_account_that_is_not_there(cluster):
    text = f'error looking up service account {NS}/gone: serviceaccount "gone" not found'
    assert why(cluster, pod_spec(serviceAccountName="gone")) == text


def test_one_priority_class_is_the_default_one(cluster):
    cluster.create(PRIORITYCLASSES, "a", namespace="", value=1, globalDefault=True)
    with pytest.raises(Forbidden, match=r"PriorityClass a is already marked as default\. Only one default can exist"):
        cluster.create(PRIORITYCLASSES, "b", namespace="", value=2, globalDefault=True)
    cluster.create(PODS, spec=pod_spec())
    assert cluster.get(PODS)["spec"]["priorityClassName"] == "a"


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_namespaces_that_stay(cluster, name):
    cluster.registry.create(NAMESPACES, "", {"metadata": {"name": name}})
    with pytest.raises(Forbidden, match=f'namespaces "{name}" is forbidden: this namespace may not be deleted'):
        cluster.registry.delete(NAMESPACES, "", name)
