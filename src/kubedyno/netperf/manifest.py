"""iperf3 deployments of one's own, e.g. the study's: who is client, server and Service, and what is run between them. Pure.

In the objects of a file, as they are. The Service's selector names the server's pods; the one other Deployment is the
client, in whose pod iperf3 is started, as by `kubectl exec deploy/iperf3-client -- iperf3 -c iperf3-server -t 5`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubedyno.base.errors import KubedynoError

_DEPLOYMENT, _SERVICE = "Deployment", "Service"
PORT = 5201
# The study's own commands.
TESTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("TCP", ("-t", "5")),
    ("UDP at 20G", ("-u", "-b", "20G")),
    ("TCP both ways", ("-t", "5", "--bidir")),
    ("TCP, 2 streams", ("-t", "10", "-P", "2")),
)
_UDP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a file has.

    Attributes:
        objects: (API with the plural, e.g. "/apis/apps/v1|deployments", object) of each, in the file's order.
        client: Labels of the client's pods.
        server: Labels of the server's pods.
        container: Name of the client's container.
        service: Name of the Service.
        port: Of the Service.
    """

    objects: tuple[tuple[str, dict[str, Any]], ...]
    client: dict[str, str]
    server: dict[str, str]
    container: str
    service: str
    port: int


def manifest_of(documents: Sequence[Any], path: str) -> Manifest:
    """Return what a file's documents are.

    Raises:
        KubedynoError: There is something else than Deployments and one Service; or no server, or not one client.
    """
    found: dict[str, list[dict[str, Any]]] = {_DEPLOYMENT: [], _SERVICE: []}
    objects = []
    for number, document in enumerate(documents, 1):
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind not in found:
            raise KubedynoError(
                f"{path}: document {number} is {kind or 'no object'}; only Deployments and a Service are taken"
            )
        found[kind].append(document)
        api = "/apis/apps/v1|deployments" if kind == _DEPLOYMENT else "/api/v1|services"
        objects.append((api, {key: value for key, value in document.items() if key != "status"}))
    if len(found[_SERVICE]) != 1:
        raise KubedynoError(f"{path}: {len(found[_SERVICE])} Services; one is needed, which the server is reached by")
    [service] = found[_SERVICE]
    try:
        selector = dict(service["spec"]["selector"])
        templates = [(_labels_of(one), one["spec"]["template"]["spec"]) for one in found[_DEPLOYMENT]]
        servers = [labels for labels, _ in templates if selector.items() <= labels.items()]
        clients = [(labels, spec) for labels, spec in templates if not selector.items() <= labels.items()]
        port = int(next(one["port"] for one in service["spec"]["ports"] if one.get("protocol", "TCP") == "TCP"))
        if len(servers) != 1 or len(clients) != 1:
            raise KubedynoError(
                f"{path}: Service {service['metadata']['name']} selects {len(servers)} of {len(templates)} Deployments; "
                "one that it selects is the server, one that it does not the client"
            )
        labels, spec = clients[0]
        container = spec["containers"][0]["name"]
        return Manifest(tuple(objects), labels, servers[0], container, service["metadata"]["name"], port)
    except (KeyError, TypeError, IndexError, StopIteration) as error:
        raise KubedynoError(f"{path}: a Deployment or the Service has no {str(error) or 'TCP port'}") from error


def _labels_of(deployment: dict[str, Any]) -> dict[str, str]:
    return dict(deployment["spec"]["template"]["metadata"]["labels"])


def command_of(words: Sequence[str], address: str, port: int, seconds: float | None) -> list[str]:
    """Return a client's command line; `seconds` takes the place of the test's own, None keeps it."""
    own = list(words)
    if seconds is not None:
        if "-t" in own:
            at = own.index("-t")
            del own[at : at + 2]
        own += ["-t", f"{max(1, round(seconds))}"]
    return ["iperf3", "-J", "-c", address, *(["-p", str(port)] if port != PORT else []), *own]


def seconds_of(words: Sequence[str]) -> float:
    """Return how long a command takes."""
    return float(words[words.index("-t") + 1]) if "-t" in words else _UDP_SECONDS
