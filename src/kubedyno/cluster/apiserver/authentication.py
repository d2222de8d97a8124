"""Who asks: bearer tokens and client certificates to a user with groups. What a user may do is in `authorization`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from kubedyno.http.messages import Certificate, Peer
from kubedyno.kube.status import Unauthorized

# What the real server's default roles let anybody read (system:public-info-viewer).
PUBLIC_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
# Who is in this group may do everything, whatever roles say.
MASTERS = "system:masters"
NODES = "system:nodes"
_NODE = "system:node:"
_CERTIFICATES = 1024
# In a user's extra: which of the user's credentials it was.
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request.

    Attributes:
        name: User name.
        groups: Of the user.
        uid: "" when the user has none.
        extra: More about the user: (key, values) pairs.
        superuser: In `MASTERS`.
        node: Whose kubelet it is, "" for everybody else.
    """

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    superuser: bool = field(init=False, default=False, compare=False)
    node: str = field(init=False, default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "superuser", MASTERS in self.groups)
        if NODES in self.groups and self.name.startswith(_NODE):
            object.__setattr__(self, "node", self.name[len(_NODE) :])


ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


class Authenticator:
    """Static tokens, and certificates that the TLS layer has verified.

    Args:
        tokens: Bearer token → its user.

    Attributes:
        other_tokens: Asked for the user of a token that is not among them; raises Unauthorized. None: nobody's.
    """

    __slots__ = ("_by_header", "other_tokens")

    def __init__(self, tokens: Mapping[str, User]) -> None:
        # Keyed by the whole header: one lookup a request.
        self._by_header = {f"Bearer {token}": user for token, user in tokens.items()}
        self.other_tokens: Callable[[str], User] | None = None

    def user_of(self, headers: Mapping[str, str], peer: Peer) -> User:
        """Return who asks; `ANONYMOUS` when no credentials came.

        Raises:
            Unauthorized: Credentials came and are wrong.
        """
        # A certificate counts before a token.
        certificate = peer.certificate
        if certificate is not None and certificate.common_name:
            return _user_of_certificate(certificate)
        header = headers.get("authorization")
        if header is None:
            return ANONYMOUS
        user = self._by_header.get(header)
        if user is not None:
            return user
        token = _bearer_of(header)
        if not token:
            return ANONYMOUS
        user = self._by_header.get(f"Bearer {token}")
        if user is None:
            if self.other_tokens is None:
                raise Unauthorized("Unauthorized")
            return self.other_tokens(token)
        return user


@lru_cache(maxsize=_CERTIFICATES)
def _user_of_certificate(certificate: Certificate) -> User:
    credential = ((CREDENTIAL_ID, (f"X509SHA256={certificate.sha256}",)),) if certificate.sha256 else ()
    return User(certificate.common_name, (*certificate.organizations, AUTHENTICATED), extra=credential)


def _bearer_of(header: str) -> str:
    """Return the token of a header, "" where it holds none: another scheme's credentials are nobody's."""
    scheme, _, rest = header.strip().partition(" ")
    return rest.partition(" ")[0] if scheme.lower() == "bearer" else ""
