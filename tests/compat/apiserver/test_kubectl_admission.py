"""A real kubectl before policies and webhooks: what a user sees of them."""

import json

import pytest

from compat.apiserver.test_kubectl import _KUBECTL, DEPLOYMENT, Kubectl, scene
from kubedyno.cluster.registry.celfunctions import available
from unit.cluster.apiserver.hooks import hooks, patch

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.slow,
    pytest.mark.skipif(_KUBECTL is None, reason="there is no kubectl here; the development requirements bring one"),
]

POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: demo-policy.example.com}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  validations:
  - expression: object.spec.replicas <= 5
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: demo-binding}
spec: {policyName: demo-policy.example.com, validationActions: [ACTION]}
"""


@pytest.mark.skipif(not available(), reason="the extra cel is not installed")
def test_a_policy_refuses_or_warns(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        await kubectl("apply", "-f", "-", text=POLICY.replace("ACTION", "Deny"))
        many = DEPLOYMENT.replace("replicas: 2", "replicas: 6")
        refused = (
            "The deployments \"web\" is invalid: : ValidatingAdmissionPolicy 'demo-policy.example.com' with binding "
            "'demo-binding' denied request: failed expression: object.spec.replicas <= 5"
        )
        assert refused in await kubectl.fails("apply", "-f", "-", text=many)
        assert await kubectl("apply", "-f", "-", text=DEPLOYMENT) == "deployment.apps/web created\n"
        await kubectl("apply", "-f", "-", text=POLICY.replace("ACTION", "Warn"))
        _, out, err = await kubectl._run(("apply", "-f", "-"), many)
        assert out == "deployment.apps/web configured\n"
        assert err.startswith("Warning: Validation failed for ValidatingAdmissionPolicy 'demo-policy.example.com'")

    scene(tmp_path, play)


def test_webhooks_change_refuse_and_fail(tmp_path):
    async def play(kubectl: Kubectl) -> None:
        async with hooks() as server:
            server.replies["/label"] = lambda _: patch({"op": "add", "path": "/metadata/labels/seen", "value": "yes"})
            server.replies["/no"] = lambda r: {
                "allowed": r["object"]["spec"]["replicas"] < 5, "warnings": ["counted"],
                "status": {"message": "too many", "code": 403, "reason": "Forbidden"},
            }  # fmt: skip
            rules = [
                {
                    "apiGroups": ["apps"],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["deployments"],
                }
            ]
            for kind, path in (("Mutating", "/label"), ("Validating", "/no")):
                hook = {
                    "name": f"{kind.lower()}.example.com", "clientConfig": server.client(path), "rules": rules,
                    "sideEffects": "None", "admissionReviewVersions": ["v1"],
                }  # fmt: skip
                document = {
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{kind}WebhookConfiguration",
                    "metadata": {"name": kind.lower()}, "webhooks": [hook],
                }  # fmt: skip
                await kubectl("apply", "-f", "-", text=json.dumps(document))
            code, out, err = await kubectl._run(("apply", "-f", "-"), DEPLOYMENT)
            assert (code, out, err) == (0, "deployment.apps/web created\n", "Warning: counted\n")
            assert await kubectl("get", "deploy", "web", "-o", "jsonpath={.metadata.labels.seen}") == "yes"
            many = DEPLOYMENT.replace("replicas: 2", "replicas: 6")
            assert 'admission webhook "validating.example.com" denied the request: too many' in await kubectl.fails(
                "apply", "-f", "-", text=many
            )
        failed = await kubectl.fails("apply", "-f", "-", text=DEPLOYMENT.replace("nginx:1", "nginx:2"))
        assert (
            'failed calling webhook "mutating.example.com": failed to call webhook: Post "https://127.0.0.1:' in failed
        )
        assert "connect: connection refused" in failed

    scene(tmp_path, play)
