"""Paths outside the API: version and health."""

from collections import Counter
from collections.abc import Collection

import orjson

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.settings import ClusterSettings

# Of the release that the recorded answers are from; a patch version's own commit is not known here.
_BUILD_DATE = "2026-08-21T11:29:11Z"
# In the order in which a server of 1.36 tells them; its parts come up under these names.
_HOOKS = (
    "start-apiserver-admission-initializer", "generic-apiserver-start-informers", "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter", "storage-object-count-tracker-hook", "start-apiextensions-informers",
    "start-apiextensions-controllers", "crd-informer-synced", "start-system-namespaces-controller",
    "peer-endpoint-reconciler-controller", "start-cluster-authentication-info-controller",
    "start-kube-apiserver-identity-lease-controller", "start-kube-apiserver-identity-lease-garbage-collector",
    "storage-readiness", "start-legacy-token-tracking-controller", "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles", "scheduling/bootstrap-system-priority-classes", "priority-and-fairness-config-producer",
    "bootstrap-controller", "start-kubernetes-service-cidr-controller", "start-kube-aggregator-informers",
    "apiservice-status-local-available-controller", "apiservice-status-remote-available-controller",
    "apiservice-registration-controller", "apiservice-discovery-controller", "kube-apiserver-autoregistration",
    "autoregister-completion", "apiservice-openapi-controller", "apiservice-openapiv3-controller",
)  # fmt: skip
_STARTED = tuple(name if name == "autoregister-completion" else f"poststarthook/{name}" for name in _HOOKS)
_INFORMERS = "informer-sync"
_LIVE = ("ping", "log", "loopback-serving-certificate", "etcd", *_STARTED)
_READY = ("ping", "log", "etcd", "etcd-readiness", _INFORMERS, *_STARTED, "shutdown")
_GAUGE, _COUNTER = "kubernetes_healthcheck", "kubernetes_healthchecks_total"
_GAUGE_TEXT = "[STABLE] This metric records the result of a single healthcheck."
_COUNTER_TEXT = "[STABLE] This metric records the results of all healthcheck."
HEALTH_PATHS = ("/healthz", "/livez", "/readyz")


def version_document(settings: ClusterSettings) -> bytes:
    """Return /version's body, indented as the real server's."""
    return orjson.dumps(build_of(settings), option=orjson.OPT_INDENT_2)


def build_of(settings: ClusterSettings) -> dict[str, str]:
    """Return what is said of the build."""
    minor = str(settings.minor)
    return {
        "major": "1",
        "minor": minor,
        "emulationMajor": "1",
        "emulationMinor": minor,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": str(settings.minor - 1),
        "gitVersion": settings.git_version,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": _BUILD_DATE,
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


def checks_of(root: str) -> tuple[str, ...]:
    """Return the checks of a health path, as "livez"."""
    return _READY if root == "readyz" else _LIVE


class Health:
    """The checks, and how often each was made.

    Attributes:
        ready: The cluster has come up; until then /readyz fails its informers.
    """

    def __init__(self) -> None:
        self.ready = False
        # By type, name and status.
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._passed: dict[tuple[str, str], bool] = {}

    def text(self, path: str, *, verbose: bool, excluded: Collection[str] = ()) -> tuple[int, bytes]:
        """Return status and text of a health path.

        Args:
            path: "/readyz", or one check of it as "/readyz/ping".
            verbose: List every check.
            excluded: Checks that do not count.
        """
        root, _, one = path[1:].partition("/")
        checks = checks_of(root)
        if one:
            if one not in checks:
                return 404, b"404 page not found\n"
            return (200, b"ok") if self._passes(root, one) else (500, f"internal server error: {one} failed".encode())
        passed = {check: self._passes(root, check) for check in checks if check not in excluded}
        whole = all(passed.values())
        if whole and not verbose:
            return 200, b"ok"
        lines = [
            f"[+]{check} excluded: ok"
            if check not in passed
            else f"[+]{check} ok"
            if passed[check]
            else f"[-]{check} failed: reason withheld"
            for check in checks
        ]
        if unknown := sorted(set(excluded) - set(checks)):
            quoted = ",".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        lines.append(f"{root} check passed" if whole else f"{root} check failed")
        return (200 if whole else 500), ("\n".join(lines) + "\n").encode()

    def _passes(self, root: str, check: str) -> bool:
        passes = self.ready or root != "readyz" or check != _INFORMERS
        self._counts[root, check, "success" if passes else "error"] += 1
        self._passed[root, check] = passes
        return passes

    def slis(self) -> bytes:
        """Return /metrics/slis: what each check said last, and how often it said what."""
        page = Page()
        for root, check in sorted(self._passed, key=lambda key: (key[1], key[0])):
            labels = {"name": check, "type": root}
            page.add(_GAUGE, "gauge", _GAUGE_TEXT, labels, float(self._passed[root, check]))
        for root, check, status in sorted(self._counts, key=lambda key: (key[1], key[2], key[0])):
            count = self._counts[root, check, status]
            page.add(_COUNTER, "counter", _COUNTER_TEXT, {"name": check, "status": status, "type": root}, count)
        return page.text()
