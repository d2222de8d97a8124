import base64
import json

import pytest
import yaml

from kubedyno.base.errors import KubedynoError
from kubedyno.client import kubeconfig

PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


def document(cluster=None, user=None, context=None):
    return {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", **(context or {})}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    }


def load(tmp_path, content, context=None):
    path = tmp_path / "config"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return kubeconfig.load(path, context)


def test_inline_data_and_files_beside_the_kubeconfig_mean_the_same(tmp_path):
    for name in ("ca", "crt", "key"):
        (tmp_path / name).write_text(PEM + name)
    keys = {"client-certificate": "crt", "client-key": "key"}
    files = load(tmp_path, document({"certificate-authority": "ca"}, keys))
    inline = {f"{key}-data": base64.b64encode((PEM + name).encode()).decode() for key, name in keys.items()}
    ca = base64.b64encode((PEM + "ca").encode()).decode()
    assert load(tmp_path, document({"certificate-authority-data": ca}, inline)) == files
    assert files.ca == (PEM + "ca").encode()


def test_a_token_of_digits_stays_what_it_is(tmp_path):
    text = yaml.safe_dump(document(user={"token": "X"})).replace("token: X", "token: 0644")
    assert load(tmp_path, text).user.token == "0644"


def test_the_named_context_counts_and_its_namespace(tmp_path):
    content = document(context={"namespace": "n"})
    content["contexts"].append({"name": "d", "context": {"cluster": "k"}})
    assert load(tmp_path, content).namespace == "n"
    other = load(tmp_path, content, "d")
    assert (other.context, other.namespace, other.user) == ("d", "default", kubeconfig.User())


def test_server_parts_and_tls_options_are_read(tmp_path):
    target = load(
        tmp_path,
        document({"server": "https://h.x/base/", "insecure-skip-tls-verify": True, "tls-server-name": "other"}),
    )
    assert (target.host, target.port, target.base_path, target.verify, target.server_name) == (
        "h.x",
        443,
        "/base",
        False,
        "other",
    )


def test_impersonation_and_exec_are_read(tmp_path):
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./login",
        "args": ["a"],
        "env": [{"name": "E", "value": "1"}],
        "provideClusterInfo": True,
    }
    user = load(tmp_path, document(user={"exec": plugin, "as": "ann", "as-groups": ["g", "h"]})).user
    assert user.impersonate == (("Impersonate-User", "ann"), ("Impersonate-Group", "g"), ("Impersonate-Group", "h"))
    assert (user.exec.command, user.exec.environment) == (str(tmp_path / "login"), (("E", "1"),))
    assert user.exec.cluster["server"] == "https://127.0.0.1:6443"


WRONG = {
    "no context": ({"contexts": []}, "context c: does not exist; there are no contexts"),
    "other context": ({"current-context": "x"}, "context x: does not exist; there are c"),
    "none chosen": ({"current-context": ""}, "current-context: is not set; choose one with --kube-context"),
    "no cluster": ({"clusters": []}, "cluster k: does not exist"),
    "no user": ({"users": []}, "user u: does not exist"),
    "server": (document({"server": "127.0.0.1:6443"}), 'server "127.0.0.1:6443" is no URL'),
    "port": (document({"server": "https://h:99999"}), "is no URL"),
    "proxy": (document({"proxy-url": "http://p"}), "proxy-url is not supported"),
    "missing ca": (document({"certificate-authority": "nope.pem"}), "nope.pem cannot be read (No such file"),
    "base64": (document({"certificate-authority-data": "x"}), "is no base64"),
    "no PEM": (document({"certificate-authority-data": "eHh4eA=="}), "no PEM certificate"),
    "ca and insecure": (
        document(
            {"certificate-authority-data": base64.b64encode(PEM.encode()).decode(), "insecure-skip-tls-verify": True}
        ),
        "keep one of them",
    ),
    "key without certificate": (document(user={"client-key-data": "eA=="}), "client-certificate is missing"),
    "auth-provider": (document(user={"auth-provider": {"name": "gcp"}}), "use an exec plugin"),
    "exec version": (
        document(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}}),
        "v1 and v1beta1 are supported",
    ),
    "groups without user": (document(user={"as-groups": ["g"]}), "impersonation needs `as`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line_with_path_and_place(tmp_path, case):
    change, text = WRONG[case]
    with pytest.raises(KubedynoError) as raised:
        load(tmp_path, {**document(), **change})
    line = str(raised.value)
    assert text in line
    assert line.startswith(f"kubeconfig {tmp_path / 'config'}: ")
    assert "\n" not in line


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "a: b: c", "\t"])
def test_a_file_that_is_no_mapping_is_one_line(tmp_path, text):
    with pytest.raises(KubedynoError, match=r"kubeconfig .*config"):
        load(tmp_path, text)


def test_the_environment_then_the_home_then_the_pod_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubedynoError, match="no kubeconfig: set KUBECONFIG"):
        kubeconfig.load(None, None)
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(json.dumps(document({"server": "https://home"})))
    assert kubeconfig.load(None, None).server == "https://home"
    first = tmp_path / "first"
    first.write_text(json.dumps(document({"server": "https://first"})))
    monkeypatch.setenv("KUBECONFIG", str(first))
    assert kubeconfig.load(None, None).server == "https://first"
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / '.kube' / 'config'}")
    with pytest.raises(KubedynoError, match="names 2 files"):
        kubeconfig.load(None, None)


def test_a_named_file_that_is_missing_is_an_error_not_a_fallback(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
    with pytest.raises(KubedynoError, match="gone: cannot be read"):
        kubeconfig.load(None, None)


def test_in_cluster_takes_the_service_account(tmp_path, monkeypatch):
    for name, text in {"token": "t", "ca.crt": PEM, "namespace": "ns\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    target = kubeconfig.in_cluster(tmp_path)
    assert (target.server, target.namespace, target.user.token_file) == (
        "https://[fd00::1]:443",
        "ns",
        tmp_path / "token",
    )
