"""Paths outside the API: version and health."""

from collections.abc import Collection

import orjson

from kubedyno.cluster.settings import ClusterSettings

# Of the release that the recorded answers are from; a patch version's own commit is not known here.
_BUILD_DATE = "2026-08-21T11:29:11Z"
_CHECKS = (
    "ping", "log", "etcd", "informer-sync", "poststarthook/generic-apiserver-start-informers",
    "poststarthook/start-system-namespaces-controller", "poststarthook/bootstrap-controller", "shutdown",
)  # fmt: skip
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


def health_text(path: str, *, verbose: bool, ready: bool = True, excluded: Collection[str] = ()) -> tuple[int, bytes]:
    """Return status and text of a health path.

    Args:
        path: "/readyz", or one check of it as "/readyz/ping".
        verbose: List every check.
        ready: The cluster has come up; until then /readyz fails its informers.
        excluded: Checks that do not count.
    """
    root = path.split("/")[1]
    one = path.split("/", 2)[2] if path.count("/") > 1 else ""
    if one and one not in _CHECKS:
        return 404, b"404 page not found\n"
    failing = {"informer-sync"} - set(excluded) if root == "readyz" and not ready else set()
    if one:
        return (500, f"internal server error: {one} failed".encode()) if one in failing else (200, b"ok")
    if not failing and not verbose:
        return 200, b"ok"
    skipped = {"informer-sync", "shutdown"} if root != "readyz" else set()
    checks = [check for check in _CHECKS if check not in skipped]
    lines = [
        f"[-]{check} failed: reason withheld"
        if check in failing
        else f"[+]{check} excluded: ok"
        if check in excluded
        else f"[+]{check} ok"
        for check in checks
    ]
    if unknown := sorted(set(excluded) - set(checks)):
        quoted = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
    lines.append(f"{root} check failed" if failing else f"{root} check passed")
    return (500 if failing else 200), ("\n".join(lines) + "\n").encode()
