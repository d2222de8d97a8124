"""How requests fared before they were looked at: the authentication_*, authenticated_* and authorization_* series.

How long that took is not measured: it is a look-up of a microsecond.
"""

from collections import Counter

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.impersonation import Checks

# The real server tells these apart, whose names are nobody's in particular.
_KNOWN = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})
_ATTEMPTS = (
    "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or "
    "'error'."
)
_DECISIONS = (
    "[ALPHA] Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision."
)
_ACTS = "[ALPHA] Total number of impersonation attempts split by mode and decision."
_ACT_CHECKS = (
    "[ALPHA] Total number of authorization checks made by the impersonation handler split by mode and decision."
)
# What the verb "impersonate" alone allows.
_LEGACY = "legacy"


class AccessCounts:
    """Counts of requests.

    Args:
        modes: In which way somebody acts as somebody else is told, as it is since there is more than one.

    Attributes:
        unknown: Came with credentials that are nobody's.
        unasked: Came from somebody known and were refused before anybody asked what they were about.
        unallowed: Were about what their users may not do.
        decided: Were let pass by a user's roles, or by what a node's kubelet may do.
    """

    __slots__ = ("_checks", "_impersonations", "_modes", "_users", "decided", "unallowed", "unasked", "unknown")

    def __init__(self, *, modes: bool) -> None:
        self._modes = modes
        self._users: Counter[str] = Counter()
        self.unknown = 0
        # By whether it was allowed and the name of the mode that did; checks likewise.
        self._impersonations: Counter[tuple[bool, str]] = Counter()
        self._checks: Counter[tuple[bool, str]] = Counter()
        self.unasked = 0
        self.unallowed = 0
        self.decided: Counter[str] = Counter()

    def known(self, user: User) -> None:
        """Count a request of somebody, or of nobody in particular: of who asks, whomever that one acts as."""
        name = user.name
        self._users[name if name in _KNOWN else "email_id" if "@" in name else "other"] += 1

    def acted(self, allowed: bool, mode: str, checks: Checks) -> None:
        """Count a request that somebody wanted to be taken for somebody else's.

        Args:
            allowed: It is.
            mode: What allowed it, by its name; nothing otherwise.
            checks: What was asked for that.
        """
        self._impersonations[allowed, (mode or _LEGACY) if allowed else ""] += 1
        for name, passed in checks:
            self._checks[passed, name or _LEGACY] += 1

    def write(self, page: Page) -> None:
        """Add the series to a page."""
        about = "[ALPHA] Counter of authenticated requests broken out by username."
        for name, count in self._users.items():
            page.add("authenticated_user_requests", "counter", about, {"username": name}, count)
        known = self._users.total()
        for name, about, counts in (
            (
                "authentication_attempts", "[ALPHA] Counter of authenticated attempts.",
                {"error": self.unknown, "success": known},
            ),
            (
                "authorization_attempts_total", _ATTEMPTS,
                # Whoever may not act as somebody else is not asked what for.
                {"allowed": known - self.unallowed - self.unasked, "no-opinion": self.unallowed},
            ),
        ):  # fmt: skip
            for result, count in counts.items():
                if count:
                    page.add(name, "counter", about, {"result": result}, count)
        for sort, count in self.decided.items():
            labels = {"decision": "allowed", "name": sort.lower(), "type": sort}
            page.add("apiserver_authorization_decisions_total", "counter", _DECISIONS, labels, count)
        for what, about, tally in (
            (
                ("attempts", _ACTS, self._impersonations),
                ("authorization_attempts", _ACT_CHECKS, self._checks),
            )
            if self._modes
            else ()
        ):
            for (passed, mode), count in tally.items():
                labels = {"decision": "allowed" if passed else "denied", "mode": mode}
                page.add(f"apiserver_impersonation_{what}_total", "counter", about, labels, count)
