"""A real kubectl with custom resources, roles and tokens."""

import json

import pytest

from compat.apiserver.test_kubectl import _KUBECTL, Kubectl, scene

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.slow,
    pytest.mark.skipif(_KUBECTL is None, reason="there is no kubectl here; the development requirements bring one"),
]

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What to run, and when.
            properties:
              cronSpec: {type: string, description: Five fields.}
              replicas: {type: integer, minimum: 1, default: 1}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
OBJECT = """
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: my}
spec: {cronSpec: "* * * * */5"}
"""


def test_a_custom_resource_from_definition_to_deletion(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        created = "customresourcedefinition.apiextensions.k8s.io/crontabs.stable.example.com created\n"
        assert await kubectl("apply", "-f", "-", text=DEFINITION) == created
        await kubectl("wait", "--for=condition=established", "--timeout=60s", "crd/crontabs.stable.example.com")
        assert await kubectl("apply", "-f", "-", text=OBJECT) == "crontab.stable.example.com/my created\n"
        assert await kubectl("apply", "-f", "-", text=OBJECT) == "crontab.stable.example.com/my unchanged\n"
        header, row = (await kubectl("get", "ct")).splitlines()
        assert header.split() == ["NAME", "SPEC", "REPLICAS", "READY", "AGE"]
        assert row.split()[:7] == ["my", "*", "*", "*", "*", "*/5", "1"]
        assert "crontab.stable.example.com/my" in await kubectl("get", "all")
        assert "Five fields." in await kubectl("explain", "crontab.spec")
        assert "replicas\t<integer>" in await kubectl("explain", "ct", "--recursive")
        assert await kubectl("scale", "ct/my", "--replicas=3") == "crontab.stable.example.com/my scaled\n"
        assert "greater than or equal to 1" in await kubectl.fails(
            "patch", "ct", "my", "--type=merge", "-p", '{"spec":{"replicas":0}}'
        )
        assert "crontabs" in await kubectl("api-resources", "--api-group=stable.example.com")
        shown = json.loads(await kubectl("get", "ct", "my", "-o", "json"))
        assert (shown["metadata"]["generation"], shown["spec"]["replicas"]) == (2, 3)
        await kubectl("delete", "crd", "crontabs.stable.example.com")
        assert "could not find the requested resource" in await kubectl.fails("get", "ct", "my")

    scene(tmp_path, play)


def test_roles_impersonation_and_tokens(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        assert await kubectl("auth", "can-i", "*", "*") == "yes\n"
        assert "kubernetes-admin" in await kubectl("auth", "whoami")
        await kubectl("create", "sa", "robot")
        await kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,configmaps")
        await kubectl("create", "rolebinding", "robot", "--role=reader", "--serviceaccount=ns:robot")
        robot = "system:serviceaccount:ns:robot"
        assert 'User "bob" cannot list resource "pods"' in await kubectl.fails("get", "pods", "--as=bob")
        assert "No resources found" in (await kubectl._run(("get", "pods", f"--as={robot}"), ""))[2]
        token = (await kubectl("create", "token", "robot", "--duration=20m")).strip()
        admin = json.loads((tmp_path / "config").read_text())
        admin["users"] = [{"name": "x", "user": {"token": token}}]
        (tmp_path / "config").write_text(json.dumps(admin))
        assert "No resources found" in (await kubectl._run(("get", "configmaps"), ""))[2]
        assert f'User "{robot}" cannot list resource "secrets"' in await kubectl.fails("get", "secrets")

    scene(tmp_path, play)
