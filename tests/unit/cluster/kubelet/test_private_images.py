"""Who may have a private image, on a node that has it and on one that has not."""

from base64 import b64encode
from typing import Any

import orjson
import pytest

from kubedyno.cluster.kubelet.credentials import auths_of, is_for
from kubedyno.cluster.kubelet.registries import LABEL, SERVICE_ACCOUNTS
from kubedyno.cluster.registry.featuregates import ENSURE_SECRET_PULLED_IMAGES, TOKENS_FOR_CREDENTIAL_PROVIDERS
from kubedyno.kube import yaml
from kubedyno.kube.resources import PODS, SECRETS, SERVICEACCOUNTS

from .conftest import NS, Sim

HOST = "registry.corp.example"
IMAGE = f"{HOST}/team/app:1"
HEAD = f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": '
NO_CREDENTIALS = (
    f"rpc error: code = Unknown desc = {HEAD}pull access denied, repository does not exist or may require "
    "authorization: authorization failed: no basic auth credentials"
)
WRONG = (
    f"rpc error: code = Unknown desc = {HEAD}unexpected status from HEAD request to "
    f"https://{HOST}/v2/team/app/manifests/1: 401 Unauthorized"
)
PRESENT = f'Container image "{IMAGE}" already present on machine'


def config_json(host: str, user: str, password: str) -> str:
    auth = b64encode(f"{user}:{password}".encode()).decode()
    return b64encode(orjson.dumps({"auths": {host: {"auth": auth}}})).decode()


def secret(
    sim: Sim, name: str, password: str = "right", namespace: str = NS, host: str = HOST, **metadata: Any
) -> None:
    sim.registry.create(
        SECRETS,
        namespace,
        {
            "metadata": {"name": name, **metadata},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": config_json(host, "user", password)},
        },
    )


def private(sim: Sim, **metadata: Any) -> None:
    secret(sim, "corp", namespace="kube-system", labels={LABEL: ""}, **metadata)
    sim.run()


def start(sim: Sim, name: str, *secrets: str, policy: str = "IfNotPresent", **spec: Any) -> dict[str, Any]:
    """Create a pod of the private image and return its container's state after a moment."""
    if secrets:
        spec["imagePullSecrets"] = [{"name": one} for one in secrets]
    sim.create(name, container={"image": IMAGE, "imagePullPolicy": policy}, **spec)
    sim.run(0.1)
    state: dict[str, Any] = sim.pod(name)["containerStatuses"][0]["state"]
    return state


def test_without_a_secret_a_private_image_is_not_pulled(sim: Sim) -> None:
    private(sim)
    start(sim, "p")
    assert sim.events()[:3] == [
        ("Pulling", f'Pulling image "{IMAGE}"'),
        ("Failed", f'Failed to pull image "{IMAGE}": {NO_CREDENTIALS}'),
        ("Failed", "Error: ErrImagePull"),
    ]
    assert sim.pod()["containerStatuses"][0]["state"]["waiting"] == {
        "reason": "ErrImagePull",
        "message": NO_CREDENTIALS,
    }
    sim.run(5)
    assert sim.pod()["containerStatuses"][0]["state"]["waiting"] == {
        "reason": "ImagePullBackOff",
        "message": f'Back-off pulling image "{IMAGE}": ErrImagePull: {NO_CREDENTIALS}',
    }


def test_with_the_right_secret_it_is(sim: Sim) -> None:
    private(sim)
    secret(sim, "pull")
    assert "running" in start(sim, "p", "pull")


def test_a_wrong_password_is_told_and_a_second_secret_tried(sim: Sim) -> None:
    private(sim)
    secret(sim, "wrong", "wrong")
    secret(sim, "pull")
    assert start(sim, "p", "wrong")["waiting"]["message"] == WRONG
    assert "running" in start(sim, "q", "wrong", "pull")


def test_a_secret_that_is_not_there_is_told_and_the_pull_tried_without(sim: Sim) -> None:
    private(sim)
    start(sim, "p", "none", "neither")
    assert sim.events()[0] == (
        "FailedToRetrieveImagePullSecret",
        "Unable to retrieve some image pull secrets (none, neither); attempting to pull the image may not succeed.",
    )
    sim.create("public", imagePullSecrets=[{"name": "none"}])
    sim.run()
    assert sim.events("public")[0][0] == "FailedToRetrieveImagePullSecret"
    assert sim.pod("public")["phase"] == "Running"


def test_a_secret_that_comes_later_lets_the_pod_run(sim: Sim) -> None:
    private(sim)
    start(sim, "p", "pull")
    secret(sim, "pull")
    sim.run(15)
    assert sim.pod()["phase"] == "Running"


@pytest.mark.parametrize("speed", [0, 1])
def test_a_stranger_on_the_same_node_has_to_ask_itself(make: Any, speed: float) -> None:
    sim = make(speed=speed)
    private(sim)
    secret(sim, "pull")
    start(sim, "owner", "pull")
    sim.run(60)
    assert sim.pod("owner")["phase"] == "Running"
    start(sim, "stranger")
    sim.run(3)
    assert sim.pod("stranger")["phase"] == "Pending"
    assert ("Failed", f'Failed to pull image "{IMAGE}": {NO_CREDENTIALS}') in sim.events("stranger")
    # Pull policy Never is no way round it.
    start(sim, "never", policy="Never")
    sim.run(3)
    assert sim.pod("never")["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImageNeverPull"
    start(sim, "friend", "pull")
    sim.run(5)
    assert ("Pulled", f"{PRESENT} and can be accessed by the pod") in sim.events("friend")


def test_before_the_gate_anybody_on_the_node_has_it(make: Any) -> None:
    sim = make(version="1.34")
    private(sim)
    secret(sim, "pull")
    start(sim, "owner", "pull")
    assert "running" in start(sim, "stranger")
    assert ("Pulled", PRESENT) in sim.events("stranger")


def test_the_gate_of_a_cluster_counts(make: Any) -> None:
    sim = make(version="1.34", feature_gates={ENSURE_SECRET_PULLED_IMAGES: True})
    private(sim)
    secret(sim, "pull")
    start(sim, "owner", "pull")
    assert "waiting" in start(sim, "stranger")


def test_a_secret_of_the_same_content_or_a_rotated_one_is_good(sim: Sim) -> None:
    private(sim)
    secret(sim, "pull")
    start(sim, "owner", "pull")
    secret(sim, "copy")
    start(sim, "same", "copy")
    assert sim.events("same")[0] == ("Pulled", f"{PRESENT} and can be accessed by the pod")
    record = sim.store.get(SECRETS, f"{NS}/copy")
    assert record is not None
    changed = sim.store.encode_dict(SECRETS, record)
    changed["data"] = {".dockerconfigjson": config_json(HOST, "user", "rotated")}
    sim.registry.update(SECRETS, NS, "copy", changed)
    start(sim, "rotated", "copy")
    assert sim.events("rotated")[0] == ("Pulled", f"{PRESENT} and can be accessed by the pod")


def configured(sim: Sim, **config: Any) -> dict[str, Any]:
    sim.nodes.write_config("n0", yaml.dump({**yaml.load(sim.nodes.config_text("n0")), **config}))
    return sim.nodes.restart("n0")


@pytest.mark.parametrize(
    ("policy", "allowlist", "runs"),
    [
        ("NeverVerify", None, True),
        ("NeverVerifyPreloadedImages", None, False),
        ("NeverVerifyAllowlistedImages", [f"{HOST}/team/*"], True),
        ("NeverVerifyAllowlistedImages", [f"{HOST}/team/app"], True),
        ("NeverVerifyAllowlistedImages", [f"{HOST}/other/*"], False),
        ("AlwaysVerify", None, False),
    ],
)
def test_the_policy_says_whose_credentials_count(sim: Sim, policy: str, allowlist: Any, runs: bool) -> None:
    more = {"preloadedImagesVerificationAllowlist": allowlist} if allowlist else {}
    assert configured(sim, imagePullCredentialsVerificationPolicy=policy, **more)["state"] == "running"
    private(sim)
    secret(sim, "pull")
    start(sim, "owner", "pull")
    assert ("running" in start(sim, "stranger")) is runs


@pytest.mark.parametrize(("policy", "pulls"), [("AlwaysVerify", True), ("NeverVerifyPreloadedImages", False)])
def test_an_image_that_came_with_the_node(sim: Sim, policy: str, pulls: bool) -> None:
    assert configured(sim, imagePullCredentialsVerificationPolicy=policy)["state"] == "running"
    sim.create(container={"image": "registry.k8s.io/pause:3.10", "imagePullPolicy": "IfNotPresent"})
    sim.run()
    assert (sim.events()[0][0] == "Pulling") is pulls
    assert sim.pod()["phase"] == "Running"


@pytest.mark.parametrize(
    ("version", "config", "why"),
    [
        (
            "1.36",
            {"imagePullCredentialsVerificationPolicy": "Sometimes"},
            (
                'option "Sometimes" specified for imagePullCredentialsVerificationPolicy. Valid options are "NeverVerify", '
                '"NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages" or "AlwaysVerify"'
            ),
        ),
        (
            "1.34",
            {"imagePullCredentialsVerificationPolicy": "AlwaysVerify"},
            (
                "`imagePullCredentialsVerificationPolicy` must not be set if KubeletEnsureSecretPulledImages feature gate is "
                "not enabled"
            ),
        ),
        (
            "1.36",
            {"preloadedImagesVerificationAllowlist": ["a/*"]},
            (
                "can't set `preloadedImagesVerificationAllowlist` if `imagePullCredentialsVertificationPolicy` is not "
                '"NeverVerifyAllowlistedImages"'
            ),
        ),
        ("1.36", {"maxParallelImagePulls": 0}, "maxParallelImagePulls 0 must be a positive number"),
        (
            "1.36",
            {"maxParallelImagePulls": 2},
            (
                "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to "
                "false"
            ),
        ),
    ],
)
def test_a_configuration_that_no_kubelet_starts_with(make: Any, version: str, config: dict[str, Any], why: str) -> None:
    status = configured(make(version=version), **config)
    assert status["state"] == "failed"
    assert f"error: invalid configuration: {why}, path:" in status["error"]


def test_a_service_account_that_the_registry_knows_needs_no_secret(make: Any) -> None:
    sim = make()
    private(sim, annotations={SERVICE_ACCOUNTS: f"other/x, {NS}/build*"})
    sim.registry.create(SERVICEACCOUNTS, NS, {"metadata": {"name": "builder"}})
    assert "running" in start(sim, "p", serviceAccountName="builder")
    assert "waiting" in start(sim, "other")
    start(sim, "again", serviceAccountName="builder")
    assert sim.events("again")[0] == ("Pulled", f"{PRESENT} and can be accessed by the pod")


def test_tokens_for_images_have_a_gate(make: Any) -> None:
    sim = make(feature_gates={TOKENS_FOR_CREDENTIAL_PROVIDERS: False})
    private(sim, annotations={SERVICE_ACCOUNTS: f"{NS}/default"})
    assert "waiting" in start(sim, "p")


def test_a_registry_that_is_no_longer_private_gives_to_anybody(sim: Sim) -> None:
    private(sim)
    start(sim, "p")
    sim.trusted.delete(SECRETS, "kube-system/corp")
    sim.run(20)
    assert sim.pod()["phase"] == "Running"


def test_a_secret_elsewhere_makes_no_registry_private(sim: Sim) -> None:
    secret(sim, "corp", labels={LABEL: ""})
    sim.run()
    assert "running" in start(sim, "p")


def test_images_are_pulled_several_at_a_time_up_to_the_limit(make: Any) -> None:
    ends = {}
    for parallel in (1, 2, 8):
        sim = make(speed=1)
        assert configured(sim, serializeImagePulls=False, maxParallelImagePulls=parallel)["state"] == "running"
        for number in range(4):
            sim.create(f"p{number}", container={"image": f"postgres:{number}"})
        began_s = sim.clock.now()
        while any(sim.pod(f"p{number}")["phase"] != "Running" for number in range(4)):
            sim.run(0.5)
        ends[parallel] = sim.clock.now() - began_s
    # 150 MB at 30 MB/s each.
    assert ends[1] > 1.5 * ends[2] > 2 * ends[8]


@pytest.mark.parametrize(
    ("key", "repository", "matches"),
    [
        ("ghcr.io", "ghcr.io/a/b", True),
        ("ghcr.io/a", "ghcr.io/a/b", True),
        ("ghcr.io/c", "ghcr.io/a/b", False),
        ("*.corp.example", "eu.corp.example/x", True),
        ("*.corp.example", "corp.example/x", False),
        ("*.corp.example:5000", "eu.corp.example/x", False),
        ("index.docker.io", "docker.io/library/nginx", True),
        ("quay.io", "ghcr.io/a", False),
    ],
)
def test_a_key_is_for_images_below_it(key: str, repository: str, matches: bool) -> None:
    assert is_for(key, repository) is matches


@pytest.mark.parametrize("junk", ["", "bm9qc29u", "W10=", "eyJhdXRocyI6IFtdfQ==", "eyJhdXRocyI6IHsiYSI6IDF9fQ==", "%"])
def test_what_is_no_credential_gives_none(junk: str) -> None:
    assert auths_of({".dockerconfigjson": junk}) == []


def test_all_forms_of_a_credential() -> None:
    auths = {
        "https://index.docker.io/v1/": {"username": "u", "password": "p"},
        "http://a.example/v2/x": {"auth": b64encode(b"u:p:q").decode()},
    }
    whole = b64encode(orjson.dumps({"auths": auths})).decode()
    wanted = [("index.docker.io", "u", "p"), ("a.example/x", "u", "p:q")]
    assert auths_of({".dockerconfigjson": whole}) == wanted
    assert auths_of({".dockercfg": b64encode(orjson.dumps(auths)).decode()}) == wanted


def account_with(sim: Sim, *names: str) -> None:
    secrets = [{"name": name} for name in names]
    sim.registry.create(SERVICEACCOUNTS, NS, {"metadata": {"name": "builder"}, "imagePullSecrets": secrets})


def test_a_pod_has_the_pull_secrets_of_its_service_account(sim: Sim) -> None:
    private(sim)
    secret(sim, "pull")
    account_with(sim, "pull")
    assert "running" in start(sim, "p", serviceAccountName="builder")
    assert sim.get(PODS, "p")["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    # Its own come instead of these.
    assert "waiting" in start(sim, "own", "other", serviceAccountName="builder")


def test_so_has_one_of_a_workload(sim: Sim) -> None:
    account_with(sim, "pull")
    for secrets, wanted in (([], "pull"), ([{"name": "own"}], "own")):
        spec = {"containers": [{"name": "c", "image": IMAGE}], "serviceAccountName": "builder"}
        template = sim.trusted.pod_template({"spec": {**spec, **({"imagePullSecrets": secrets} if secrets else {})}})
        record = sim.trusted.create_pod(NS, template, generate_name="w-")
        assert sim.store.encode_dict(PODS, record)["spec"]["imagePullSecrets"] == [{"name": wanted}]
