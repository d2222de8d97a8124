"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy, asked through the API."""

import pytest

from kubedyno.cluster.registry.celfunctions import available
from kubedyno.cluster.registry.templates import OwnerRef
from kubedyno.kube.resources import DEPLOYMENTS
from kubedyno.kube.status import StatusError
from unit.cluster.apiserver.harness import NS, Api

needs_cel = pytest.mark.skipif(not available(), reason="the extra cel is not installed")
REG = "/apis/admissionregistration.k8s.io/v1"
MAPS = f"/api/v1/namespaces/{NS}/configmaps"
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}


def policy(api, name="p", sort="Validating", binding=None, rule=RULE, **spec):
    plural = f"{sort.lower()}admissionpolicies"
    whole = {"matchConstraints": {"resourceRules": [rule]}, **spec}
    made = api.call("POST", f"{REG}/{plural}", {"metadata": {"name": name}, "spec": whole})
    assert made.status == 201, made.json
    bound = {"policyName": name, **({"validationActions": ["Deny"]} if sort == "Validating" else {}), **(binding or {})}
    path = f"{REG}/{sort.lower()}admissionpolicybindings"
    made = api.call("POST", path, {"metadata": {"name": f"{name}-b"}, "spec": bound})
    assert made.status == 201, made.json


def configmap(name="c", labels=None, **data):
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.fixture
def api():
    return Api()


@needs_cel
def test_a_refusal_has_the_real_servers_words_reason_and_code(api):
    policy(api, validations=[{"expression": "object.data.size() < 2"}])
    answer = api.call("POST", MAPS, configmap(a="1", b="2"))
    text = "ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: failed expression: object.data.size() < 2"
    assert answer.status == 422
    assert answer.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'configmaps "c" is forbidden: {text}',
        "reason": "Invalid",
        "details": {"name": "c", "kind": "configmaps", "causes": [{"message": text}]},
        "code": 422,
    }
    assert api.call("POST", MAPS, configmap(a="1")).status == 201
    assert (
        api.call("PATCH", f"{MAPS}/c", {"data": {"b": "2"}}, {"content-type": "application/merge-patch+json"}).status
        == 422
    )
    assert api.call("PUT", f"{MAPS}/c", configmap(a="1", b="2")).status == 422
    apply = {"content-type": "application/apply-patch+yaml"}
    assert api.call("PATCH", f"{MAPS}/d?fieldManager=m", configmap("d", a="1", b="2"), apply).status == 422
    assert api.call("GET", f"{MAPS}/d").status == 404


@needs_cel
@pytest.mark.parametrize(("reason", "code"), [("Forbidden", 403), ("Invalid", 422), ("RequestEntityTooLarge", 413)])
def test_a_validation_says_its_reason(api, reason, code):
    policy(api, validations=[{"expression": "false", "reason": reason, "message": " no "}])
    answer = api.call("POST", MAPS, configmap())
    assert (answer.status, answer.json["reason"]) == (code, reason)
    assert answer.json["message"].endswith("denied request: no")


@needs_cel
def test_a_message_is_made_by_its_expression_unless_that_fails(api):
    message = "'has ' + string(object.data.size()) + ' of ' + variables.most"
    variables = [{"name": "one", "expression": "'1'"}, {"name": "most", "expression": "variables.one + '!'"}]
    policy(
        api, variables=variables, validations=[{"expression": "object.data.size() < 2", "messageExpression": message}]
    )
    assert api.call("POST", MAPS, configmap(a="1", b="2")).json["message"].endswith("denied request: has 2 of 1!")
    policy(api, "q", validations=[{"expression": "false", "messageExpression": "string(object.x)", "message": "plain"}])
    assert api.call("POST", MAPS, configmap(a="1")).json["message"].endswith("'q-b' denied request: plain")


@needs_cel
def test_failure_policy_decides_over_an_expression_without_value(api):
    policy(api, validations=[{"expression": "object.spec.x == 1"}])
    answer = api.call("POST", MAPS, configmap(a="1"))
    assert answer.json["message"].endswith("expression 'object.spec.x == 1' resulted in error: no such key: spec")
    api.call("DELETE", f"{REG}/validatingadmissionpolicies/p")
    policy(api, "q", failurePolicy="Ignore", validations=[{"expression": "object.spec.x == 1"}])
    assert api.call("POST", MAPS, configmap(a="1")).status == 201


@needs_cel
def test_warn_and_audit_let_pass(api):
    policy(
        api, binding={"validationActions": ["Warn", "Audit"]}, validations=[{"expression": "false", "message": "hm"}]
    )
    answer = api.call("POST", MAPS, configmap())
    assert answer.status == 201
    text = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': hm"
    assert answer.header("warning") == [f'299 - "{text}"']


@needs_cel
def test_match_conditions_and_selectors_narrow_a_policy(api):
    policy(
        api,
        matchConstraints={"resourceRules": [RULE], "objectSelector": {"matchLabels": {"strict": "y"}}},
        matchConditions=[{"name": "not-admin", "expression": "request.userInfo.username != 'nobody'"},
                         {"name": "b", "expression": "!('free' in object.data)"}],
        validations=[{"expression": "false"}],
    )  # fmt: skip
    assert api.call("POST", MAPS, configmap("a")).status == 201
    assert api.call("POST", MAPS, configmap("b", {"strict": "y"})).status == 422
    assert api.call("POST", MAPS, configmap("c", {"strict": "y"}, free="1")).status == 201


@needs_cel
def test_a_binding_narrows_by_namespace(api):
    here = {"matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}}
    policy(api, binding=here, validations=[{"expression": "namespaceObject.metadata.name != 'other'"}])
    assert api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}}).status == 201
    assert api.call("POST", MAPS, configmap()).status == 201
    assert api.call("POST", "/api/v1/namespaces/other/configmaps", configmap()).status == 422


@needs_cel
def test_parameters_come_from_the_binding(api):
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    limit = [{"expression": "object.data.size() <= int(params.data.most)"}]
    match = {"resourceRules": [RULE], "excludeResourceRules": [{**RULE, "resourceNames": ["limits"]}]}
    reference = {"name": "limits", "namespace": NS, "parameterNotFoundAction": "Deny"}
    policy(api, matchConstraints=match, paramKind=kind, binding={"paramRef": reference}, validations=limit)
    text = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    assert api.call("POST", MAPS, configmap(a="1")).json["message"].endswith(f"denied request: {text}")
    assert api.call("POST", MAPS, configmap("limits", most="1")).status == 201
    assert api.call("POST", MAPS, configmap(a="1", b="1")).status == 422
    assert api.call("POST", MAPS, configmap(a="1")).status == 201


@needs_cel
def test_deletions_are_asked_about_with_the_old_object(api):
    rule = {**RULE, "operations": ["DELETE"]}
    policy(api, rule=rule, validations=[{"expression": "object == null && !('keep' in oldObject.data)"}])
    for name, data in (("a", {"keep": "1"}), ("b", {"x": "1"})):
        assert api.call("POST", MAPS, configmap(name, **data)).status == 201
    assert api.call("DELETE", f"{MAPS}/a").status == 422
    assert api.call("DELETE", f"{MAPS}/b").status == 200


@needs_cel
def test_an_expression_may_ask_the_authorizer(api):
    rule = "authorizer.group('').resource('secrets').namespace('ns').check('delete').allowed()"
    policy(api, validations=[{"expression": f"{rule} && authorizer.requestResource.check('create').allowed()"},
                             {"expression": "!authorizer.serviceAccount('ns', 'default').path('/x').check('get').allowed()"}])  # fmt: skip
    assert api.call("POST", MAPS, configmap()).status == 201


@needs_cel
def test_scale_is_seen_as_a_scale(api):
    rule = {"apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["deployments/scale"]}
    check = "request.kind.kind == 'Scale' && object.spec.replicas <= 5 && oldObject.spec.replicas == 1"
    policy(api, rule=rule, validations=[{"expression": check}])
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    path = f"/apis/apps/v1/namespaces/{NS}/deployments"
    assert api.call("POST", path, {"metadata": {"name": "d"}, "spec": spec}).status == 201
    merge = {"content-type": "application/merge-patch+json"}
    assert api.call("PATCH", f"{path}/d/scale", {"spec": {"replicas": 6}}, merge).status == 422
    assert api.call("PATCH", f"{path}/d/scale", {"spec": {"replicas": 5}}, merge).json["spec"] == {"replicas": 5}


@needs_cel
def test_other_versions_of_a_resource_are_meant_unless_exactly_one_is(api):
    rule = {
        "apiGroups": ["autoscaling"],
        "apiVersions": ["v2"],
        "operations": ["*"],
        "resources": ["horizontalpodautoscalers"],
    }
    policy(
        api,
        rule=rule,
        validations=[{"expression": "has(object.spec.metrics) && object.apiVersion == 'autoscaling/v2'"}],
    )
    path = f"/apis/autoscaling/v1/namespaces/{NS}/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    assert api.call("POST", path, {"metadata": {"name": "h"}, "spec": spec}).status == 201, "seen as v2, with metrics"


@needs_cel
def test_mutations_apply_configurations_and_patches_in_order(api):
    labels = "Object{metadata: Object.metadata{labels: {'team': object.metadata.name}}}"
    patch = "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), value: object.metadata.labels.team}]"
    policy(
        api, sort="Mutating", reinvocationPolicy="Never",
        mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": labels}},
                   {"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    )  # fmt: skip
    made = api.call("POST", MAPS, configmap("c", {"own": "1"}, a="1")).json
    assert made["metadata"]["labels"] == {"own": "1", "team": "c", "x/y": "c"}


@needs_cel
def test_policies_are_not_asked_about_policies(api):
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    policy(api, rule=rule, validations=[{"expression": "false"}])
    assert api.call("POST", MAPS, configmap()).status == 422
    assert api.call("DELETE", f"{REG}/validatingadmissionpolicies/p").status == 200
    assert api.call("POST", MAPS, configmap()).status == 201


@needs_cel
def test_undefined_variables_and_wrong_types_are_refused_when_written(api):
    spec = {
        "matchConstraints": {"resourceRules": [RULE]},
        "variables": [{"name": "y", "expression": "1"}],
        "validations": [{"expression": "variables.x", "messageExpression": "1"}],
    }
    answer = api.call("POST", f"{REG}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
    texts = [cause["message"] for cause in answer.json["details"]["causes"]]
    assert "undefined field 'x'" in texts[0]
    assert texts[1] == 'Invalid value: "1": must evaluate to string but got int'


def test_without_the_extra_failure_policy_decides_and_says_what_to_install(api, monkeypatch):
    monkeypatch.setattr("kubedyno.cluster.registry.celfunctions.available", lambda: False)
    policy(api, validations=[{"expression": "true"}])
    answer = api.call("POST", MAPS, configmap())
    assert answer.status == 422
    assert answer.json["message"].endswith("expressions are not evaluated here: pip install 'kubedyno[cel]'")
    api.call("DELETE", f"{REG}/validatingadmissionpolicies/p")
    policy(api, "q", failurePolicy="Ignore", validations=[{"expression": "false"}])
    assert api.call("POST", MAPS, configmap()).status == 201


@needs_cel
def test_what_controllers_create_passes_policies_as_their_service_account(api):
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    check = "object.metadata.labels.team == 'a' && request.userInfo.username.endsWith(':replicaset-controller')"
    labels = "Object{metadata: Object.metadata{labels: {'seen': 'y'}}}"
    policy(api, rule=rule, validations=[{"expression": check}])
    change = [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": labels}}]
    policy(api, "m", sort="Mutating", rule=rule, reinvocationPolicy="Never", mutations=change)
    owner = OwnerRef.of("apps/v1", "ReplicaSet", "r", "u")

    def create(team):
        spec = {"containers": [{"name": "c", "image": "i"}]}
        template = api.trusted.pod_template({"metadata": {"labels": {"team": team}}, "spec": spec})
        return api.trusted.create_pod(NS, template, owner, generate_name="r-")

    record = create("a")
    assert record.obj.labels == {"team": "a", "seen": "y"}
    with pytest.raises(StatusError, match=r"pods \"r-\w{5}\" is forbidden: ValidatingAdmissionPolicy 'p'"):
        create("b")


@needs_cel
def test_what_controllers_change_passes_policies_but_their_status_does_not(api):
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
    policy(
        api,
        rule=rule,
        validations=[
            {"expression": "oldObject.spec.replicas == 1 && object.metadata.annotations.ok == 'y'"},
            {"expression": "request.userInfo.username.endsWith(':deployment-controller')"},
        ],
    )
    paused = {
        "patchType": "ApplyConfiguration",
        "applyConfiguration": {"expression": "Object{spec: Object.spec{paused: true}}"},
    }
    policy(api, "m", sort="Mutating", rule=rule, reinvocationPolicy="Never", mutations=[paused])
    labels = {"a": "b"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    assert api.call("POST", f"/apis/apps/v1/namespaces/{NS}/deployments", body).status == 201
    record = api.store.get(DEPLOYMENTS, f"{NS}/d")
    with pytest.raises(StatusError, match=r"deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'p'"):
        api.trusted.replace(DEPLOYMENTS, record, annotations={"ok": "n"})
    assert api.store.get(DEPLOYMENTS, f"{NS}/d") is record
    record = api.trusted.replace(DEPLOYMENTS, record, status={"observedGeneration": 1})
    record = api.trusted.replace(DEPLOYMENTS, record, annotations={"ok": "y"})
    changed = api.store.encode_dict(DEPLOYMENTS, record)
    assert (changed["spec"]["paused"], changed["metadata"]["generation"], record.obj.generation) == (True, 2, 2)
    assert changed["status"] == {"observedGeneration": 1}
