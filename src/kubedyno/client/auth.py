"""Credentials of a target: what a request carries, where it comes from and how long it holds."""

import asyncio
import base64
import os
import subprocess
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import epoch_of
from kubedyno.client.kubeconfig import ExecPlugin, User
from kubedyno.http.messages import Headers
from kubedyno.http.tls import KeyPair

# Token files are replaced on the spot; client-go reads them again as often.
_TOKEN_FILE_S = 60.0
# Credentials are renewed so long before they expire.
_EARLY_S = 30.0
_EXEC_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What requests carry now.

    Attributes:
        headers: Authorization and impersonation.
        pair: The client's certificate.
        renew_s: Epoch seconds at which to ask again; infinite for those that never change.
    """

    headers: Headers
    pair: KeyPair | None
    renew_s: float = float("inf")

    @property
    def changing(self) -> bool:
        """Whether asking again may bring something new."""
        return self.renew_s != float("inf")


async def credentials(user: User, clock: Clock) -> Credentials:
    """Return a user's credentials; runs the plugin or reads the file that they come from.

    Raises:
        KubedynoError: There are none to be had.
    """
    pair = user.pair
    renew_s = float("inf")
    authorization = ""
    if user.exec is not None:
        status = await asyncio.to_thread(_run, user.exec)
        token = status.get("token")
        if token:
            authorization = f"Bearer {token}"
        if status.get("clientCertificateData"):
            pair = KeyPair(status["clientCertificateData"].encode(), status.get("clientKeyData", "").encode())
        # Without an expiry they hold until the server says 401.
        renew_s = clock.now() + 365 * 86400.0
        if status.get("expirationTimestamp"):
            try:
                expiry_s = epoch_of(status["expirationTimestamp"])
            except ValueError as error:
                raise KubedynoError(f"exec {user.exec.command}: its expirationTimestamp is no time") from error
            # Never sooner than a second, or a plugin with a wrong clock would be run without end.
            renew_s = max(expiry_s - _EARLY_S, clock.now() + 1.0)
    elif user.token_file is not None:
        try:
            authorization = f"Bearer {user.token_file.read_text().strip()}"
        except OSError as error:
            raise KubedynoError(f"token file {user.token_file}: cannot be read ({error.strerror})") from error
        renew_s = clock.now() + _TOKEN_FILE_S
    elif user.token:
        authorization = f"Bearer {user.token}"
    elif user.username:
        plain = f"{user.username}:{user.password}".encode()
        authorization = f"Basic {base64.b64encode(plain).decode()}"
    if any(c < " " or c == "\x7f" for c in authorization):
        raise KubedynoError("the token holds a line end or another control character; mend the kubeconfig")
    headers = (("Authorization", authorization),) if authorization else ()
    return Credentials((*headers, *user.impersonate), pair, renew_s)


def _run(plugin: ExecPlugin) -> dict[str, Any]:
    """Run a credential plugin and return its status."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.cluster is not None:
        spec["cluster"] = plugin.cluster
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    environment = {**os.environ, **dict(plugin.environment), "KUBERNETES_EXEC_INFO": orjson.dumps(info).decode()}
    where = f"exec {plugin.command}"
    try:
        done = subprocess.run(  # noqa: S603 - the command of the user's own kubeconfig
            [plugin.command, *plugin.arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_EXEC_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        hint = f"; {plugin.install_hint}" if plugin.install_hint else "; install it, or mend the kubeconfig"
        raise KubedynoError(f"{where}: there is no such command{hint}") from error
    except subprocess.TimeoutExpired as error:
        raise KubedynoError(f"{where}: gave no credentials within {_EXEC_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise KubedynoError(f"{where}: cannot be started ({error.strerror})") from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise KubedynoError(f"{where}: failed with code {done.returncode}{': ' + lines[-1] if lines else ''}")
    try:
        answer = orjson.loads(done.stdout)
        status = answer["status"]
        if answer["kind"] != "ExecCredential" or answer["apiVersion"] != plugin.api_version:
            raise KubedynoError(f"{where}: answered a {answer['apiVersion']} {answer['kind']}")
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise KubedynoError(f"{where}: its output is no ExecCredential with a status") from error
    if not status.get("token") and not (status.get("clientCertificateData") and status.get("clientKeyData")):
        raise KubedynoError(f"{where}: answered neither a token nor a certificate with its key")
    return dict(status)
