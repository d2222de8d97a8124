"""How requests fared before they were looked at: the authentication_*, authenticated_* and authorization_* series.

How long that took is not measured: it is a look-up of a microsecond.
"""

from collections import Counter

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.exposition import Page

# The real server tells these apart, whose names are nobody's in particular.
_KNOWN = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})
_ATTEMPTS = (
    "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or "
    "'error'."
)
_DECISIONS = (
    "[ALPHA] Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision."
)


class AccessCounts:
    """Counts of requests.

    Attributes:
        unknown: Came with credentials that are nobody's.
        impersonations: Wanted to be taken for somebody else's, by whether that was allowed.
        unallowed: Were about what their users may not do.
        decided: Were let pass by a user's roles, or by what a node's kubelet may do.
    """

    __slots__ = ("_users", "decided", "impersonations", "unallowed", "unknown")

    def __init__(self) -> None:
        self._users: Counter[str] = Counter()
        self.unknown = 0
        self.impersonations: Counter[bool] = Counter()
        self.unallowed = 0
        self.decided: Counter[str] = Counter()

    def known(self, user: User) -> None:
        """Count a request of somebody, or of nobody in particular."""
        name = user.name
        self._users[name if name in _KNOWN else "email_id" if "@" in name else "other"] += 1

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
                {"allowed": known - self.unallowed - self.impersonations[False], "no-opinion": self.unallowed},
            ),
        ):  # fmt: skip
            for result, count in counts.items():
                if count:
                    page.add(name, "counter", about, {"result": result}, count)
        for sort, count in self.decided.items():
            labels = {"decision": "allowed", "name": sort.lower(), "type": sort}
            page.add("apiserver_authorization_decisions_total", "counter", _DECISIONS, labels, count)
