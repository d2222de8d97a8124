"""ServiceAccount tokens: JSON Web Tokens (ES256) with the cluster's own key, made on request and checked on use.

A token is bound to its account's uid, and to a pod, secret or node where asked: it dies with them.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.cluster.apiserver.authentication import AUTHENTICATED, CREDENTIAL_ID, User
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS, Resource
from kubedyno.kube.status import Unauthorized

ISSUER = "https://kubernetes.default.svc.cluster.local"
JWKS_PATH = "/openid/v1/jwks"
CONFIGURATION_PATH = "/.well-known/openid-configuration"
# What a token may be bound to: kind → (resource, member of the claims, it lives in the account's namespace).
BOUND = {"Pod": (PODS, "pod", True), "Secret": (SECRETS, "secret", True), "Node": (NODES, "node", False)}
_COORDINATE_BYTES = 32
# Tokens whose signature is known to be good; forgotten all at once.
_REMEMBERED = 4096
_MAX_LENGTH = 8192
_EXTENDED_FROM_S, _YEAR_S = 3607, 365 * 86_400


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token with a good signature says.

    Attributes:
        user: Whose it is.
        namespace: The account's.
        name: The account's.
        uid: The account's.
        audiences: Whom it is for.
        from_s: Epoch seconds from which it counts.
        until_s: Epoch seconds from which it does not.
        bound: (resource, key, uid) of what it dies with; None for the account alone.
    """

    user: User
    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]
    from_s: float
    until_s: float
    bound: tuple[Resource, str, str] | None


class ServiceAccountTokens:
    """Makes and checks tokens.

    Args:
        store: Where accounts, pods, secrets and nodes are.
        clock: Says what has expired.
        random: Makes ids.
        key: PEM of the P-256 key that signs; b"" makes a fresh one, and what it signed dies with it.
    """

    def __init__(self, store: Store, clock: Clock, random: Random, key: bytes = b"") -> None:
        self._store = store
        self._clock = clock
        self._random = random
        given = serialization.load_pem_private_key(key, None) if key else ec.generate_private_key(ec.SECP256R1())
        assert isinstance(given, ec.EllipticCurvePrivateKey)
        self._key = given
        public = self._key.public_key()
        numbers = public.public_numbers()
        self._jwk = {
            "use": "sig",
            "kty": "EC",
            "kid": "",
            "crv": "P-256",
            "alg": "ES256",
            "x": _encoded(numbers.x.to_bytes(_COORDINATE_BYTES, "big")),
            "y": _encoded(numbers.y.to_bytes(_COORDINATE_BYTES, "big")),
        }
        # The thumbprint of RFC 7638: what names a key by its value.
        thumb = orjson.dumps({name: self._jwk[name] for name in ("crv", "kty", "x", "y")})
        self._jwk["kid"] = _encoded(hashlib.sha256(thumb).digest())
        self._public = public
        self._head = _encoded(orjson.dumps({"alg": "ES256", "kid": self._jwk["kid"]}))
        self._known: dict[str, Claims] = {}

    # --- documents ---------------------------------------------------------------------------------------------

    def jwks(self) -> bytes:
        """Return the key set under `JWKS_PATH`."""
        return orjson.dumps({"keys": [self._jwk]})

    def configuration(self, address: str) -> bytes:
        """Return the discovery document of a server at host:port."""
        return orjson.dumps(
            {
                "issuer": ISSUER,
                "jwks_uri": f"https://{address}{JWKS_PATH}",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }
        )

    # --- tokens ------------------------------------------------------------------------------------------------

    def issue(
        self,
        account: ObjectRecord,
        audiences: Sequence[str],
        lifetime_s: int,
        bound: tuple[str, ObjectRecord] | None = None,
    ) -> str:
        """Return a new token.

        Args:
            account: Of the ServiceAccount.
            audiences: Whom it is for; never empty.
            lifetime_s: How long it counts.
            bound: (kind, record) of what it dies with, see `BOUND`.
        """
        obj, now_s = account.obj, int(self._clock.now())
        private: dict[str, Any] = {"namespace": obj.namespace}
        if bound is not None:
            private[BOUND[bound[0]][1]] = {"name": bound[1].obj.name, "uid": bound[1].obj.uid}
        private["serviceaccount"] = {"name": obj.name, "uid": obj.uid}
        claims = {
            "aud": list(audiences),
            "exp": now_s + lifetime_s,
            "iat": now_s,
            "iss": ISSUER,
            "jti": self._random.uid(),
            "kubernetes.io": private,
            "nbf": now_s,
            "sub": f"system:serviceaccount:{obj.namespace}:{obj.name}",
        }
        signed = f"{self._head}.{_encoded(orjson.dumps(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"{signed}.{_encoded(signature)}"

    def for_pod(self, pod: dict[str, Any], audience: str, lifetime_s: int) -> str:
        """Return a token as a kubelet gets it for a pod: of its account, bound to it; "" when one of them is gone.

        Args:
            pod: The pod.
            audience: Whom it is for, "" for the API server.
            lifetime_s: As the pod's volume says. The default of an hour counts for a year, as the API server extends it
                for clients that never read the file again (--service-account-extend-token-expiration).
        """
        metadata = pod["metadata"]
        namespace = metadata["namespace"]
        account = self._store.get(SERVICEACCOUNTS, key_of(namespace, pod["spec"].get("serviceAccountName", "")))
        record = self._store.get(PODS, key_of(namespace, metadata["name"]))
        if account is None or record is None or record.obj.uid != metadata["uid"]:
            return ""
        extended = lifetime_s == _EXTENDED_FROM_S and not audience
        return self.issue(account, [audience or ISSUER], _YEAR_S if extended else lifetime_s, ("Pod", record))

    def user_of(self, token: str) -> User:
        """Return whose a token is, if it is for this API server.

        Raises:
            Unauthorized: It is none of ours, has expired, or what it belongs to is gone.
        """
        claims = self.claims_of(token)
        if ISSUER not in claims.audiences:
            raise Unauthorized("Unauthorized")
        return claims.user

    def claims_of(self, token: str) -> Claims:
        """Return what a token says, whoever it is for.

        Raises:
            Unauthorized: As for `user_of`.
        """
        claims = self._known.get(token)
        if claims is None:
            claims = self._read(token)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[token] = claims
        if not claims.from_s - 60 <= self._clock.now() < claims.until_s or not self._is_alive(claims):
            raise Unauthorized("Unauthorized")
        return claims

    def _is_alive(self, claims: Claims) -> bool:
        account = self._store.get(SERVICEACCOUNTS, key_of(claims.namespace, claims.name))
        if account is None or account.obj.uid != claims.uid:
            return False
        if claims.bound is None:
            return True
        resource, key, uid = claims.bound
        record = self._store.get(resource, key)
        return record is not None and record.obj.uid == uid

    def _read(self, token: str) -> Claims:
        try:
            if len(token) > _MAX_LENGTH:
                raise Unauthorized("Unauthorized")
            head, body, signature = token.split(".")
            raw = _decoded(signature)
            if head != self._head or len(raw) != 2 * _COORDINATE_BYTES:
                raise Unauthorized("Unauthorized")
            r, s = (int.from_bytes(part, "big") for part in (raw[:_COORDINATE_BYTES], raw[_COORDINATE_BYTES:]))
            self._public.verify(encode_dss_signature(r, s), f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
            return _claims_of(orjson.loads(_decoded(body)))
        except (ValueError, InvalidSignature):
            raise Unauthorized("Unauthorized") from None


def _claims_of(claims: dict[str, Any]) -> Claims:
    """Return the claims of a token that we have signed."""
    private = claims["kubernetes.io"]
    namespace, account = private["namespace"], private["serviceaccount"]
    extra: list[tuple[str, tuple[str, ...]]] = [(CREDENTIAL_ID, (f"JTI={claims['jti']}",))]
    bound = None
    for resource, member, namespaced in BOUND.values():
        given = private.get(member)
        if given is None:
            continue
        bound = (resource, key_of(namespace if namespaced else "", given["name"]), given["uid"])
        if member != "secret":
            extra.append((f"authentication.kubernetes.io/{member}-name", (given["name"],)))
            extra.append((f"authentication.kubernetes.io/{member}-uid", (given["uid"],)))
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return Claims(
        User(claims["sub"], groups, account["uid"], tuple(extra)),
        namespace,
        account["name"],
        account["uid"],
        tuple(claims["aud"]),
        claims["nbf"],
        claims["exp"],
        bound,
    )


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
