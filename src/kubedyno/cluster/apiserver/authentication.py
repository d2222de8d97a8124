"""Who asks: bearer tokens and client certificates to a user with groups.

Authorisation is AlwaysAllow for whoever is known; who is not known reads health and version, nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kubedyno.http.messages import Peer
from kubedyno.kube.status import Unauthorized

# What the real server's default roles let anybody read (system:public-info-viewer).
PUBLIC_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request."""

    name: str
    groups: tuple[str, ...] = ()


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Authenticator:
    """Static tokens, and certificates that the TLS layer has verified.

    Args:
        tokens: Bearer token → its user.
    """

    __slots__ = ("_by_header",)

    def __init__(self, tokens: Mapping[str, User]) -> None:
        # Keyed by the whole header: one lookup a request.
        self._by_header = {f"Bearer {token}": user for token, user in tokens.items()}

    def user_of(self, headers: Mapping[str, str], peer: Peer) -> User:
        """Return who asks; `ANONYMOUS` when no credentials came.

        Raises:
            Unauthorized: Credentials came and are wrong.
        """
        header = headers.get("authorization")
        if header is not None:
            user = self._by_header.get(header)
            if user is None:
                user = self._by_header.get(_normalised(header))
            if user is None:
                raise Unauthorized("Unauthorized")
            return user
        certificate = peer.certificate
        if certificate is not None and certificate.common_name:
            return User(certificate.common_name, (*certificate.organizations, "system:authenticated"))
        return ANONYMOUS


def _normalised(header: str) -> str:
    """Return the header as the table has it: the scheme's case does not matter, nor does space around the token."""
    scheme, _, token = header.partition(" ")
    return f"Bearer {token.strip()}" if scheme.lower() == "bearer" else header
