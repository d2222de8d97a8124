"""`kubedyno cluster`: the embedded cluster's life, and the files of its kubelets."""

import argparse
import sys
from pathlib import Path

from kubedyno.base.errors import KubedynoError
from kubedyno.cli import chaos, nodes

DEFAULT_NAME = "kubedyno"


def _runtime(text: str) -> str:
    if text == "process":
        raise argparse.ArgumentTypeError(
            "plain processes would see their user's files and every network; take netns, which needs no root either"
        )
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the cluster."""
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    up = verbs.add_parser("up", help="start a cluster and wait until its nodes are Ready")
    up.add_argument("--name", help="cluster name (default: the kind configuration's, else kubedyno)")
    add_cluster_flags(up)
    up.set_defaults(handle=_up)

    down = verbs.add_parser("down", help="stop a cluster and remove all it left")
    _name(down)
    down.add_argument("--all", action="store_true", help="stop every cluster")
    down.set_defaults(handle=_down)

    verbs.add_parser("list", help="list clusters").set_defaults(handle=_list)

    status = verbs.add_parser("status", help="show nodes, pods and health of a cluster")
    _name(status)
    status.add_argument("-o", "--output", choices=("text", "json", "yaml", "kyaml"), default="text")
    status.set_defaults(handle=_status)

    kubeconfig = verbs.add_parser("kubeconfig", help="print the path of a cluster's kubeconfig, or its text")
    _name(kubeconfig)
    kubeconfig.add_argument("--text", action="store_true", help="print the file itself")
    kubeconfig.set_defaults(handle=_kubeconfig)

    chaos.add_arguments(verbs)
    nodes.add_arguments(verbs)

    kubelet = verbs.add_parser("kubelet", help="print or change a node's /var/lib/kubelet/config.yaml")
    kubelet.add_argument("node", help="node name")
    _name(kubelet)
    kubelet.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the file")
    kubelet.add_argument("--edit", action="store_true", help="open the file in $EDITOR")
    kubelet.add_argument("--file", type=Path, metavar="FILE", help="replace the file by this one")
    kubelet.add_argument("--restart", action="store_true", help="restart the kubelet, so that it reads the file")
    kubelet.add_argument("--status", action="store_true", help="show whether the kubelet runs, and why not")
    kubelet.set_defaults(handle=_kubelet)


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=DEFAULT_NAME, help="cluster name (default %(default)s)")


def add_cluster_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that describe a new cluster."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="kind configuration (kind.x-k8s.io/v1alpha4)")
    parser.add_argument("--nodes", type=int, metavar="N", help="number of nodes, the first a control plane (default 1)")
    parser.add_argument(
        "--node-class",
        action="append",
        default=[],
        metavar="name=NAME,KEY=VALUE,…",
        help="more nodes of one kind: count, cpu, memory, pods, zone, kernel, mask, label.NAME (may be repeated)",
    )
    parser.add_argument("--max-pods", type=int, metavar="N", help="maxPods of every kubelet (default 110)")
    parser.add_argument("--node-cidr-mask", type=int, metavar="BITS", help="prefix length of a node's PodCIDR (24)")
    parser.add_argument("--speed", type=float, metavar="X", help="speed of the modelled nodes: 1 real, 0 at once")
    parser.add_argument("--cni", choices=("kindnet", "cilium", "none"), help="pod network (default kindnet)")
    parser.add_argument(
        "--authorization",
        choices=("Node,RBAC", "RBAC", "AlwaysAllow"),
        help="who may do what (default Node,RBAC; the admin everything)",
    )
    parser.add_argument("--addons", metavar="NAMES", help="add-ons, comma separated: study")
    parser.add_argument(
        "--addon-values", type=Path, metavar="FILE", help="values of kube-prometheus-stack for --addons study"
    )
    parser.add_argument("--kubernetes-version", metavar="X.Y", help="1.33, 1.34, 1.35 or 1.36 (default 1.36)")
    parser.add_argument("--feature-gates", metavar="GATES", help="gates that differ from the version's, A=true,B=false")
    parser.add_argument(
        "--runtime-config", metavar="APIS", help="versions of APIs to serve or not, e.g. api/beta=true,batch/v1=false"
    )
    parser.add_argument(
        "--scheduler-config",
        type=Path,
        metavar="FILE",
        help="KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of all randomness in the cluster (default 1)")
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="serve the cluster's own figures on 127.0.0.1:PORT/metrics"
    )
    parser.add_argument("--port", type=int, metavar="PORT", help="API port on 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--runtime",
        type=_runtime,
        choices=("model", "netns"),
        help="netns: pods of known images are processes, as root or in a user namespace (default model)",
    )
    parser.add_argument(
        "--datapath", choices=("route", "bridge", "ebpf"), help="between pods that are processes (default route)"
    )
    parser.add_argument(
        "--private-registry",
        action="append",
        default=[],
        metavar="HOST[/PATH]=USER:PASSWORD",
        help="images of that host are pulled with this login only (may be repeated)",
    )
    parser.add_argument("--images", type=Path, metavar="FILE", help="YAML: image pattern to local command line")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="keep the cluster there over restarts (default: memory only)"
    )
    parser.add_argument(
        "--max-requests-inflight", type=int, metavar="N", help="reads under way at once (default 400; 0: no limit)"
    )
    parser.add_argument(
        "--max-mutating-requests-inflight",
        type=int,
        metavar="N",
        help="writes under way at once (default 200; 0: no limit)",
    )
    parser.add_argument(
        "--enable-priority-and-fairness",
        choices=("true", "false"),
        default="true",
        help="share the two limits out by FlowSchemas and priority levels (default true)",
    )
    parser.add_argument(
        "--audit-log-path", type=Path, metavar="FILE", help="write each request down there, one JSON line a stage"
    )
    parser.add_argument(
        "--audit-policy-file", type=Path, metavar="FILE", help="Policy of audit.k8s.io/v1 (default: metadata of all)"
    )
    for flag, what in (
        ("maxsize", "MiB at which it begins another file (default 100)"),
        ("maxage", "days for which files put aside are kept (default: for ever)"),
        ("maxbackup", "how many files put aside are kept (default: all)"),
    ):
        parser.add_argument(f"--audit-log-{flag}", type=int, metavar="N", help=what)
    parser.add_argument(
        "--tracing-config-file",
        type=Path,
        metavar="FILE",
        help="TracingConfiguration: spans of requests to a collector on this machine (extra tracing)",
    )
    parser.add_argument(
        "--idle-timeout", metavar="DURATION", help="end after so long without a request (30m); 0: never"
    )


def settings_of(arguments: argparse.Namespace) -> tuple[object, list[str]]:
    """Return ClusterSettings from flags and kind configuration, and warnings to print."""
    from kubedyno.lab import settings

    return settings.cluster_settings(
        name=arguments.name,
        config=arguments.config,
        nodes=arguments.nodes,
        max_pods=arguments.max_pods,
        node_cidr_mask=arguments.node_cidr_mask,
        speed=arguments.speed,
        cni=arguments.cni,
        authorization=arguments.authorization,
        addons=arguments.addons,
        addon_values=arguments.addon_values,
        version=arguments.kubernetes_version,
        seed=arguments.seed,
        port=arguments.port,
        metrics_port=arguments.metrics_port,
        idle_timeout=arguments.idle_timeout,
        runtime=arguments.runtime,
        datapath=arguments.datapath,
        images=arguments.images,
        node_classes=arguments.node_class,
        private_registries=arguments.private_registry,
        data_dir=arguments.data_dir,
        max_inflight=arguments.max_requests_inflight,
        max_mutating_inflight=arguments.max_mutating_requests_inflight,
        feature_gates=arguments.feature_gates,
        runtime_config=arguments.runtime_config,
        scheduler_config=arguments.scheduler_config,
        priority_and_fairness=arguments.enable_priority_and_fairness == "true",
        audit_log=arguments.audit_log_path,
        audit_policy=arguments.audit_policy_file,
        audit_maxsize_mb=arguments.audit_log_maxsize,
        audit_maxage_days=arguments.audit_log_maxage,
        audit_maxbackup=arguments.audit_log_maxbackup,
        tracing=arguments.tracing_config_file,
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""
    return int(arguments.handle(arguments))


def _up(arguments: argparse.Namespace) -> int:
    from kubedyno.cluster.settings import ClusterSettings
    from kubedyno.lab import embedded

    settings, warnings = settings_of(arguments)
    assert isinstance(settings, ClusterSettings)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    running = embedded.up(settings)
    nodes = "1 node" if len(settings.nodes) == 1 else f"{len(settings.nodes)} nodes"
    if running.started:
        print(
            f"cluster {running.name} is up: Kubernetes {settings.git_version}, {nodes}, https://127.0.0.1:{running.port}"
        )
    else:
        print(f"cluster {running.name} was up already (flags not applied): https://127.0.0.1:{running.port}")
    print_how_to(running.name, running.kubeconfig)
    return 0


def print_how_to(name: str, kubeconfig: Path) -> None:
    """Print how to reach and stop an embedded cluster."""
    suffix = "" if name == DEFAULT_NAME else f" --name {name}"
    print(f"  reach it: export KUBECONFIG={kubeconfig}")
    print(f"  stop it:  kubedyno cluster down{suffix}")


def _down(arguments: argparse.Namespace) -> int:
    from kubedyno.lab import embedded

    names = embedded.names() if arguments.all else [arguments.name]
    for name in names:
        if embedded.down(name):
            print(f"cluster {name} is down")
        elif not arguments.all:
            print(f"there is no cluster {name}")
    if not names:
        print("there is no cluster")
    return 0


def _list(_arguments: argparse.Namespace) -> int:
    from kubedyno.lab import embedded
    from kubedyno.report.text import table

    rows = []
    for name in embedded.names():
        running = embedded.find(name)
        if running is None:
            rows.append((name, "left over (its process is gone)", "", ""))
        else:
            rows.append((name, "up", f"https://127.0.0.1:{running.port}", str(running.pid)))
    if not rows:
        print("there is no cluster; start one with: kubedyno cluster up")
        return 0
    print("\n".join(table(("NAME", "STATE", "SERVER", "PID"), rows)))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from kubedyno.kube import forms
    from kubedyno.lab import control

    status = control.call(arguments.name, "GET", "/kubedyno/status")
    if arguments.output == "text":
        print("\n".join(control.status_lines(status)))
    else:
        print(forms.text_of(status, arguments.output), end="")
    return 0


def _kubeconfig(arguments: argparse.Namespace) -> int:
    from kubedyno.lab import control

    path = control.running(arguments.name).kubeconfig
    print(path.read_text() if arguments.text else path, end="" if arguments.text else "\n")
    return 0


def _kubelet(arguments: argparse.Namespace) -> int:
    from kubedyno.lab import control

    path = f"/kubedyno/nodes/{arguments.node}/kubelet"
    changed = False
    if arguments.file or arguments.edit or arguments.set:
        text = control.text(arguments.name, f"{path}/config")
        if arguments.file:
            try:
                text = arguments.file.read_text()
            except OSError as error:
                raise KubedynoError(f"{arguments.file}: cannot be read ({error.strerror})") from error
        for assignment in arguments.set:
            text = control.set_key(text, assignment)
        if arguments.edit:
            text = control.edit(text)
        control.call(arguments.name, "PUT", f"{path}/config", text.encode(), "application/yaml")
        changed = True
        print(f"{arguments.node}: /var/lib/kubelet/config.yaml written")
    if arguments.restart:
        status = control.call(arguments.name, "POST", f"{path}/restart")
        print(control.kubelet_line(arguments.node, status))
        return 0 if status.get("state") == "running" else 1
    if arguments.status:
        print(control.kubelet_line(arguments.node, control.call(arguments.name, "GET", path)))
    elif changed:
        print("it takes effect with the kubelet's next start: add --restart")
    else:
        print(control.text(arguments.name, f"{path}/config"), end="")
    return 0
