"""/statusz and /flagz: when the server was started, of which version it is, what it was told; for people, or structured.

Both came with Kubernetes 1.32 as alpha and are on since 1.36.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kubedyno.base.clock import Clock
from kubedyno.base.times import rfc3339
from kubedyno.cluster.apiserver.encoding import value_bytes
from kubedyno.cluster.apiserver.negotiation import JSON, YAML, Choice, choose, document_form, not_acceptable
from kubedyno.cluster.apiserver.tokens import ISSUER
from kubedyno.cluster.settings import ClusterSettings

FIRST_MINOR = 36
TEXT = "text/plain"
_GROUP = "config.k8s.io"
_VERSIONS = ("v1alpha1", "v1beta1")
_KINDS = {"/statusz": "Statusz", "/flagz": "Flagz"}
_PATHS = ("/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version")
_WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for "
    "debugging purposes only."
)
_HOUR_S, _MINUTE_S = 3600, 60


class ComponentPages:
    """Makes the pages.

    Args:
        settings: What the cluster was told.
        address: host:port of the server.
        clock: Tells how long it is up.
    """

    def __init__(self, settings: ClusterSettings, address: str, clock: Clock) -> None:
        self._settings = settings
        self._address = address
        self._clock = clock
        self._began_s = clock.now()

    @property
    def paths(self) -> set[str]:
        """What is served here."""
        return set(_KINDS) if self._settings.minor >= FIRST_MINOR else set()

    def page(self, path: str, headers: Mapping[str, str], pretty: str | None) -> tuple[str, bytes] | None:
        """Return media type and body of a path; None when it is none of these.

        Raises:
            NotAcceptable: The client takes neither the text nor a version of the structured form.
        """
        kind = _KINDS[path] if path in self.paths else None
        if kind is None:
            return None
        offered = (JSON, YAML, TEXT)

        def allows(choice: Choice) -> bool:
            if choice.media == TEXT:
                return choice.convert is None
            group, version, asked = choice.convert or ("", "", "")
            return group == _GROUP and version in _VERSIONS and asked == kind

        # Who asks for nothing gets the text.
        choice = choose(headers.get("accept", "") or "*/*", offered, allows)
        if choice is None:
            raise not_acceptable(offered)
        if choice.convert is None:
            return f"{TEXT}; charset=utf-8", self._text(kind).encode()
        group, version, _ = choice.convert
        document = {"kind": kind, "apiVersion": f"{group}/{version}", "metadata": {"name": "apiserver"}}
        media = f"{choice.media};g={group};v={version};as={kind}"
        return media, value_bytes(document | self._facts(kind), document_form(choice, headers, pretty))

    def _facts(self, kind: str) -> dict[str, Any]:
        if kind == "Flagz":
            return {"flags": self._flags()}
        settings = self._settings
        return {
            "startTime": rfc3339(self._began_s),
            "uptimeSeconds": int(self._clock.now() - self._began_s),
            "goVersion": "",
            "binaryVersion": settings.git_version.removeprefix("v"),
            "emulationVersion": f"1.{settings.minor}",
            "paths": list(_PATHS),
        }

    def _text(self, kind: str) -> str:
        head = f"\napiserver {kind.lower()}\n{_WARNING}\n"
        if kind == "Flagz":
            return head + "".join(f"{name} {value}\n" for name, value in self._flags().items())
        facts = self._facts(kind)
        up_s = facts["uptimeSeconds"]
        hours, minutes, seconds = up_s // _HOUR_S, up_s % _HOUR_S // _MINUTE_S, up_s % _MINUTE_S
        return (
            f"{head}\nStarted: {datetime.fromtimestamp(self._began_s, UTC):%a %b %e %H:%M:%S UTC %Y}\n"
            f"Up: {hours} hr {minutes:02} min {seconds:02} sec\nGo version: {facts['goVersion']}\n"
            f"Binary version: {facts['binaryVersion']}\nEmulation version: {facts['emulationVersion']}\n"
            f"Paths: {' '.join(_PATHS)}\n"
        )

    def _flags(self) -> dict[str, str]:
        """Return kube-apiserver's names for what a cluster of ours can be told, with the values that hold."""
        settings = self._settings
        host, _, port = self._address.rpartition(":")
        subnets = [settings.service_subnet, *filter(None, [settings.second_service_subnet])]
        return dict(
            sorted(
                {
                    "advertise-address": host,
                    "allow-privileged": "true",
                    "anonymous-auth": "true",
                    "audit-log-maxage": str(settings.audit_maxage_days),
                    "audit-log-maxbackup": str(settings.audit_maxbackup),
                    "audit-log-maxsize": str(settings.audit_maxsize_mb),
                    "audit-log-path": settings.audit_log,
                    "audit-policy-file": settings.audit_policy,
                    "authorization-mode": f"[{settings.authorization}]",
                    "bind-address": host,
                    "enable-priority-and-fairness": str(settings.priority_and_fairness).lower(),
                    "max-mutating-requests-inflight": str(settings.max_mutating_inflight),
                    "max-requests-inflight": str(settings.max_inflight),
                    "secure-port": port,
                    "service-account-issuer": f"[{ISSUER}]",
                    "service-cluster-ip-range": ",".join(subnets),
                    "tracing-config-file": settings.tracing,
                    "feature-gates": _pairs(settings.feature_gates),
                    "runtime-config": _pairs(settings.runtime_config),
                }.items()
            )
        )


def _pairs(switches: Mapping[str, bool]) -> str:
    return ",".join(f"{name}={str(on).lower()}" for name, on in sorted(switches.items()))
