"""kubeconfig → `Target`: which server, whom to trust, and who we are.

Every value is read as text (a token may look like a number), files named in a kubeconfig are relative to it, and
what cannot be honoured is an error that says so, never ignored.
"""

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from kubedyno.base.errors import KubedynoError
from kubedyno.http.tls import KeyPair

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
IN_CLUSTER_CONTEXT = "in-cluster"


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A command that prints an ExecCredential.

    Attributes:
        environment: Added to our own.
        cluster: What `provideClusterInfo` passes on, None when it is off.
        install_hint: For a user who has no such command.
    """

    api_version: str
    command: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    cluster: dict[str, Any] | None = None
    install_hint: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """Who we are; the first that is set counts: exec, token file, token, name and password. A pair adds to any."""

    pair: KeyPair | None = None
    token: str = ""
    token_file: Path | None = None
    username: str = ""
    password: str = ""
    exec: ExecPlugin | None = None
    impersonate: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """One cluster, as a user sees it.

    Attributes:
        server: URL, e.g. "https://127.0.0.1:6443", without a slash at the end.
        context: Name of the context it came from.
        namespace: The context's, "default" when it names none.
        ca: PEM of the authorities to trust; None trusts the system's.
        verify: False trusts any server.
        server_name: Name that the server's certificate must carry, if not the URL's host.
    """

    server: str
    context: str = ""
    namespace: str = "default"
    ca: bytes | None = None
    verify: bool = True
    server_name: str | None = None
    user: User = field(default_factory=User)

    @property
    def tls(self) -> bool:
        return self.server.startswith("https://")

    @property
    def host(self) -> str:
        return urlsplit(self.server).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.server).port or (443 if self.tls else 80)

    @property
    def authority(self) -> str:
        return urlsplit(self.server).netloc

    @property
    def base_path(self) -> str:
        """Path that all requests are below, "" for most servers."""
        return urlsplit(self.server).path.rstrip("/")


def load(path: Path | None, context: str | None) -> Target:
    """Return the cluster of a kubeconfig.

    Args:
        path: The file; None takes KUBECONFIG, then ~/.kube/config, then the pod's service account.
        context: Instead of the file's current one.

    Raises:
        KubedynoError: A file is missing or wrong; the line says which and what to do.
    """
    if path is None:
        path = _found()
        if path is None:
            return in_cluster()
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KubedynoError(f"kubeconfig {path}: cannot be read ({reason}); name another with --kubeconfig") from error
    try:
        # The base loader makes texts of all scalars: a token of digits stays what it is.
        document = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506 - texts only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "malformed"
        raise KubedynoError(f"kubeconfig {path}{where}: is no YAML ({problem})") from error
    if not isinstance(document, dict):
        raise KubedynoError(f"kubeconfig {path}: is empty or holds no mapping")
    return _Reader(path, document).target(context)


def in_cluster(folder: Path = _SERVICE_ACCOUNT) -> Target:
    """Return the cluster that this process runs in as a pod.

    Raises:
        KubedynoError: It does not.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (folder / "token").is_file():
        raise KubedynoError("no kubeconfig: set KUBECONFIG, give --kubeconfig, or create ~/.kube/config")
    try:
        ca = (folder / "ca.crt").read_bytes()
        namespace = (folder / "namespace").read_text().strip()
    except OSError as error:
        raise KubedynoError(f"{error.filename}: cannot be read ({error.strerror})") from error
    shown = f"[{host}]" if ":" in host else host
    return Target(f"https://{shown}:{port}", IN_CLUSTER_CONTEXT, namespace, ca, user=User(token_file=folder / "token"))


def _found() -> Path | None:
    """Return the file that KUBECONFIG or habit names."""
    named = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if len(named) > 1:
        there = [part for part in named if Path(part).is_file()]
        if len(there) > 1:
            raise KubedynoError(
                f"KUBECONFIG names {len(there)} files; merging them is not supported: name one with --kubeconfig"
            )
        named = there or named
    if named:
        return Path(named[0]).expanduser()
    default = Path.home() / ".kube" / "config"
    return default if default.is_file() else None


class _Reader:
    """One kubeconfig; every error carries its path."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self._path = path
        self._document = document

    def _error(self, where: str, what: str) -> KubedynoError:
        return KubedynoError(f"kubeconfig {self._path}: {where}: {what}")

    def _named(self, kind: str, key: str, name: str) -> dict[str, Any]:
        """Return an entry of clusters, users or contexts."""
        entries = self._document.get(kind) or []
        names = []
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict):
                names.append(str(entry.get("name", "")))
                if entry.get("name") == name:
                    content = entry.get(key) or {}
                    if not isinstance(content, dict):
                        raise self._error(f"{key} {name}", "is no mapping")
                    return content
        known = f"there are {', '.join(sorted(names))}" if names else f"there are no {kind}"
        raise self._error(f"{key} {name}", f"does not exist; {known}")

    def target(self, context: str | None) -> Target:
        name = context or str(self._document.get("current-context") or "")
        if not name:
            raise self._error("current-context", "is not set; choose one with --kube-context")
        chosen = self._named("contexts", "context", name)
        cluster_name = str(chosen.get("cluster") or "")
        if not cluster_name:
            raise self._error(f"context {name}", "names no cluster")
        cluster = self._named("clusters", "cluster", cluster_name)
        where = f"cluster {cluster_name}"
        server = str(cluster.get("server") or "").rstrip("/")
        parts = urlsplit(server)
        try:
            valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            valid = False
        if not valid:
            raise self._error(where, f'server "{server}" is no URL such as https://127.0.0.1:6443')
        if cluster.get("proxy-url"):
            raise self._error(where, "proxy-url is not supported; use an address that can be reached directly")
        insecure = self._true(cluster, "insecure-skip-tls-verify")
        ca = self._data(cluster, "certificate-authority", where)
        if insecure and ca is not None:
            raise self._error(where, "a certificate authority beside insecure-skip-tls-verify; keep one of them")
        if ca is not None and b"-----BEGIN" not in ca:
            raise self._error(where, "the certificate authority is no PEM certificate")
        user_name = str(chosen.get("user") or "")
        user = self._named("users", "user", user_name) if user_name else {}
        return Target(
            server=server,
            context=name,
            namespace=str(chosen.get("namespace") or "default"),
            ca=ca,
            verify=not insecure,
            server_name=str(cluster.get("tls-server-name") or "") or None,
            user=self._user(user, f"user {user_name}", cluster),
        )

    @staticmethod
    def _true(mapping: dict[str, Any], key: str) -> bool:
        return str(mapping.get(key, "")).lower() == "true"

    def _file(self, name: str) -> Path:
        return self._path.parent / Path(name).expanduser()

    def _data(self, mapping: dict[str, Any], key: str, where: str) -> bytes | None:
        """Return what `KEY-data` holds, or the file that `KEY` names."""
        inline = mapping.get(f"{key}-data")
        if inline:
            try:
                return base64.b64decode(str(inline), validate=False)
            except (binascii.Error, ValueError) as error:
                raise self._error(where, f"{key}-data is no base64") from error
        name = mapping.get(key)
        if not name:
            return None
        path = self._file(str(name))
        try:
            return path.read_bytes()
        except OSError as error:
            raise self._error(where, f"{key} {path} cannot be read ({error.strerror})") from error

    def _user(self, user: dict[str, Any], where: str, cluster: dict[str, Any]) -> User:
        if user.get("auth-provider"):
            raise self._error(where, "auth-provider was removed from Kubernetes; use an exec plugin")
        certificate = self._data(user, "client-certificate", where)
        key = self._data(user, "client-key", where)
        if (certificate is None) != (key is None):
            missing = "client-key" if key is None else "client-certificate"
            raise self._error(where, f"{missing} is missing")
        impersonate = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
        if user.get("as-uid"):
            impersonate.append(("Impersonate-Uid", str(user["as-uid"])))
        impersonate += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or []]
        for extra, values in (user.get("as-user-extra") or {}).items():
            impersonate += [(f"Impersonate-Extra-{extra}", str(value)) for value in values]
        if impersonate and not user.get("as"):
            raise self._error(where, "impersonation needs `as`")
        token_file = user.get("tokenFile")
        return User(
            pair=KeyPair(certificate, key) if certificate is not None and key is not None else None,
            token=str(user.get("token") or ""),
            token_file=self._file(str(token_file)) if token_file else None,
            username=str(user.get("username") or ""),
            password=str(user.get("password") or ""),
            exec=self._exec(user["exec"], where, cluster) if user.get("exec") else None,
            impersonate=tuple(impersonate),
        )

    def _exec(self, plugin: Any, where: str, cluster: dict[str, Any]) -> ExecPlugin:
        if not isinstance(plugin, dict) or not plugin.get("command"):
            raise self._error(where, "exec names no command")
        api_version = str(plugin.get("apiVersion") or "")
        if api_version not in {"client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"}:
            raise self._error(where, f'exec has apiVersion "{api_version}"; v1 and v1beta1 are supported')
        if plugin.get("interactiveMode") == "Always":
            raise self._error(where, "exec with interactiveMode Always is not supported; log in first")
        info: dict[str, Any] | None = None
        if self._true(plugin, "provideClusterInfo"):
            info = {"server": cluster.get("server")}
            ca = self._data(cluster, "certificate-authority", where)
            if ca is not None:
                info["certificate-authority-data"] = base64.b64encode(ca).decode()
            if self._true(cluster, "insecure-skip-tls-verify"):
                info["insecure-skip-tls-verify"] = True
            if cluster.get("tls-server-name"):
                info["tls-server-name"] = cluster["tls-server-name"]
            for extension in cluster.get("extensions") or []:
                if extension.get("name") == "client.authentication.k8s.io/exec":
                    info["config"] = extension.get("extension")
        command = str(plugin["command"])
        # A path is relative to the kubeconfig, a bare name is looked up in PATH.
        if os.sep in command:
            command = str(self._file(command))
        return ExecPlugin(
            api_version,
            command,
            tuple(str(argument) for argument in plugin.get("args") or []),
            tuple((str(entry.get("name")), str(entry.get("value", ""))) for entry in plugin.get("env") or []),
            info,
            str(plugin.get("installHint") or "").strip(),
        )
