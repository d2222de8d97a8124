"""What a connectivity check needs on a cluster, and runs there: Deployments, Services, and the commands of its actions. Pure."""

from dataclasses import dataclass
from typing import Any

from kubedyno.netperf import deployments
from kubedyno.netperf.connectivity import CONTAINER, ECHO, HOST_PORT, PORT, By, Check, Options, Workload


def manifest_of(options: Options, workload: Workload) -> dict[str, Any]:
    """Return a Deployment's manifest."""
    labels = {"name": workload.name, "kind": workload.kind, **({"other": "client"} if workload.other else {})}
    server = workload.kind == ECHO
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": options.echo_image if server else options.curl_image,
        "imagePullPolicy": "IfNotPresent",
    }
    if server:
        ports = [{"containerPort": PORT, "hostPort": HOST_PORT}]
        container |= {"env": [{"name": "PORT", "value": str(PORT)}], "ports": ports}
        container["readinessProbe"] = {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1}
    else:
        container["command"] = ["sleep", "10000000"]
    return deployments.pinned(
        workload.name,
        workload.node,
        container,
        labels=labels,
        selector={"name": workload.name},
        pod_labels=labels,
        tolerations=options.tolerations,
        host=workload.host,
    )


def services_of(workload: Workload) -> list[dict[str, Any]]:
    """Return a server's Services: one with an address and a port on every node, one without."""
    selector = {"name": workload.name}
    ports = [{"name": "http", "port": PORT, "targetPort": PORT}]
    return [
        deployments.service(workload.name, selector, ports, type="NodePort"),
        deployments.service(f"{workload.name}-headless", selector, ports, clusterIP="None"),
    ]


@dataclass(frozen=True, slots=True)
class Found:
    """What a check's URL is made of beside the check: addresses that the cluster gave.

    Attributes:
        pod: Of the server's pod.
        host: Of the node that is asked: the server's, or the one that the check names.
        node_port: Of the server's Service.
    """

    pod: str = ""
    host: str = ""
    node_port: int = 0


def target_of(check: Check, found: Found) -> str:
    """Return what a check asks: a URL, or the address that is pinged."""
    match check.by:
        case By.PING | By.PING_WHOLE:
            return found.pod
        case By.PING_HOST:
            return found.host
        case By.URL:
            return check.server
        case By.POD:
            return f"http://{found.pod}:{PORT}/"
        case By.HOST_PORT:
            return f"http://{found.host}:{HOST_PORT}/"
        case By.NODE_PORT:
            return f"http://{found.host}:{found.node_port}/"
        case By.SERVICE:
            return f"http://{check.server}:{PORT}/"
        case By.HEADLESS:
            return f"http://{check.server}-headless:{PORT}/"


def command_of(options: Options, check: Check, target: str) -> list[str]:
    """Return the command of a check: curl or ping with the original's flags; what is to be denied is asked once."""
    waits = ["-W", str(options.connect_timeout_s)]
    if check.allowed:
        # It goes on to ask until then.
        waits += ["-w", str(options.request_timeout_s)]
    if check.by is By.PING_WHOLE:
        # As large as the device takes in one packet, less the headers of IPv4 and ICMP.
        size = r"$(($(ip link show dev eth0 | sed -n 's/.*mtu \([0-9]*\).*/\1/p') - 28))"
        return ["sh", "-c", f"ping -c 1 -M do -s {size} {' '.join(waits)} {target}"]
    if check.by.pings:
        return ["ping", "-c", "1", *waits, target]
    words = [
        "curl", "--silent", "--fail", "--show-error", "--connect-timeout", str(options.connect_timeout_s),
        "--max-time", str(options.request_timeout_s), "-4", "-w",
        "%{local_ip}:%{local_port} -> %{remote_ip}:%{remote_port} = %{response_code}\n", "--output", "/dev/null",
    ]  # fmt: skip
    if target.startswith("https:"):
        words.append("--insecure")
    if check.allowed:
        words += ["--retry", "3", "--retry-all-errors", "--retry-delay", "3"]
    return [*words, target]
