"""A command in a container, as `kubectl exec` runs it: over a WebSocket of its own, beside the pool's connections.

In a pod, a container and words; out what the command wrote and its exit code. Kubernetes 1.30 and later speak the
v5.channel.k8s.io of this, older ones v4.
"""

from dataclasses import dataclass
from urllib.parse import quote

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.client.channels import channels

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDOUT, _STDERR, _ERROR = 1, 2, 3
_MAX_OUTPUT = 64 << 20


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended.

    Attributes:
        code: Its exit code.
        stdout: What it wrote, up to 64 MiB with stderr.
        stderr: The same.
    """

    code: int
    stdout: bytes
    stderr: bytes


async def run_command(client: Client, namespace: str, pod: str, container: str, words: list[str]) -> Done:
    """Run a command in a container and wait for its end. Cancelling it hangs up, which ends the command.

    Raises:
        KubedynoError: The server refuses, the connection breaks, or the command cannot be run.
    """
    query = "&".join(f"command={quote(word, safe='')}" for word in words)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec?container={container}&stdout=true&stderr=true&{query}"
    where = f"exec in pod {namespace}/{pod}"
    outputs = {_STDOUT: bytearray(), _STDERR: bytearray()}
    async with channels(client, path, _PROTOCOLS, where) as connection:
        async for channel, data in connection.messages():
            if channel in outputs:
                if sum(map(len, outputs.values())) < _MAX_OUTPUT:
                    outputs[channel] += data
            elif channel == _ERROR and data:
                connection.end()
                return Done(_code_of(data, where), bytes(outputs[_STDOUT]), bytes(outputs[_STDERR]))
    raise KubedynoError(f"{where}: the connection ended before the command did")


def _code_of(data: bytes, where: str) -> int:
    status = orjson.loads(data)
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == "NonZeroExitCode":
        causes = (status.get("details") or {}).get("causes") or ()
        code = next((cause["message"] for cause in causes if cause.get("reason") == "ExitCode"), "1")
        return int(code)
    raise KubedynoError(f"{where}: {status.get('message', 'it failed')}")
