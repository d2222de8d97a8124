"""`kubedyno net`: network datapaths on this machine."""

import argparse
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError

_BIG_TCP = {"none": 0, "64k": 0, "192k": 196_608, "512k": 524_280}
_DATAPATHS = ("host", "bridge", "route", "route-nft", "vxlan", "ebpf", "netkit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the network."""
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    lab = verbs.add_parser(
        "lab",
        help="compare every datapath on this kernel, without a cluster",
        description="Two nodes with pods as network namespaces on this machine; every datapath next to the host itself, "
        "each proven by the kernel's counters. Best as root; without it a user namespace does what it can.",
    )
    lab.add_argument(
        "--datapath",
        default=",".join(_DATAPATHS),
        metavar="LIST",
        help="which, of: %(default)s (host is always measured too)",
    )
    lab.add_argument(
        "--tests",
        metavar="LIST",
        help="tests and sets: tcp, tcp-2, tcp-30, tcp-bidir, tcp-reverse, udp, udp-reverse, tcp-rr, tcp-crr, udp-rr; "
        "quick, default, study (as long as the study ran them), all",
    )
    lab.add_argument("--rounds", type=int, metavar="N", help="rounds (default 5; six give a 95%% interval)")
    lab.add_argument("--quick", action="store_true", help="latency and one stream, within 50 s")
    lab.add_argument("--json", action="store_true", help="print the run's document")
    lab.add_argument(
        "--place", default="same-node,other-node", metavar="LIST", help="where the server is (%(default)s)"
    )
    lab.add_argument("--ip", default="4", metavar="LIST", help="4, 6 or 4,6 (default %(default)s)")
    lab.add_argument("--mtu", default="1500", metavar="LIST", help="of the wire, e.g. 1500,9000 (default %(default)s)")
    lab.add_argument(
        "--big-tcp", metavar="LIST", help="none, 192k, 512k or both (default 192k,512k; with --quick 192k)"
    )
    lab.add_argument("--seconds", type=float, metavar="S", help="of every test (default 1, latency 0.3)")
    lab.add_argument("--generator", choices=("auto", "own"), default="auto", help="iperf3 where installed, or our own")
    lab.add_argument("--congestion-control", default="cubic", metavar="NAME", help="of every TCP socket (%(default)s)")
    lab.add_argument("--hook", choices=("auto", "tcx", "clsact"), default="auto", help="how eBPF programs are attached")
    lab.add_argument("--no-pin", action="store_true", help="leave processors to the kernel")
    lab.add_argument("--directory", type=Path, default=Path(), help="where documents and report go (default: here)")
    lab.set_defaults(handle=_lab)
    _add_perf(
        verbs.add_parser(
            "perf",
            help="measure the network between a cluster's pods, as `cilium connectivity perf` does",
            description="Deploys clients and servers on one node and on two, measures between them, and removes all again. "
            "Flags, scenarios, order, tables and JSON are those of `cilium connectivity perf`.",
        )
    )
    _add_test(
        verbs.add_parser(
            "test",
            help="check the network between a cluster's pods, by the tests of `cilium connectivity test`",
            description="Deploys clients and servers, checks who reaches whom with and without NetworkPolicies, and "
            "removes all again. Tests keep their names; those that need Cilium itself are not there.",
        )
    )


def _switch(text: str) -> bool:
    """Return Go's reading of a boolean flag."""
    if text.lower() in {"true", "1", "t"}:
        return True
    if text.lower() in {"false", "0", "f"}:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


_SWITCHES = (
    ("rr", True, "TCP_RR (UDP_RR too with --udp)"),
    ("crr", False, "TCP_CRR"),
    ("udp", False, "the UDP twin of every chosen test"),
    ("throughput", True, "TCP_STREAM"),
    ("throughput-multi", True, "TCP_STREAM_MULTI"),
    ("pod-net", True, "pod to pod"),
    ("host-net", True, "host to host"),
    ("pod-to-host", False, "pod to host"),
    ("host-to-pod", False, "host to pod"),
    ("same-node", True, "client and server on one node"),
    ("other-node", True, "client and server on two nodes"),
    ("service", False, "pods by the ClusterIP of a Service too"),
)


_OUTSIDE = (
    ("external-target", "one.one.one.one.", "a name outside of the cluster"),
    ("external-cidr", "1.0.0.0/8", "a network outside, which holds both addresses"),
    ("external-ip", "1.1.1.1", "an address outside that policies allow"),
    ("external-other-ip", "1.0.0.1", "an address outside that they do not"),
)


def _add_perf(perf: argparse.ArgumentParser) -> None:
    perf.add_argument("--duration", help="of each run (default 10s; 30s with --net-qos and --bandwidth)")
    perf.add_argument("--setup-delay", default="0s", help="before the first run (default %(default)s)")
    perf.add_argument("--samples", type=int, default=1, help="how often all is repeated (default %(default)s)")
    perf.add_argument(
        "--msg-size", type=int, default=1024, help="bytes of a UDP stream's datagrams (default %(default)s)"
    )
    perf.add_argument("--streams", type=int, default=4, help="of *_MULTI tests (default %(default)s)")
    for name, default, text in _SWITCHES:
        perf.add_argument(
            f"--{name}", type=_switch, nargs="?", const=True, default=default, metavar="BOOL",
            help=f"{text} (default {str(default).lower()})",
        )  # fmt: skip
    perf.add_argument("--node-selector-server", default="", metavar="K=V,...", help="labels of the server's node")
    perf.add_argument("--node-selector-client", default="", metavar="K=V,...", help="labels of the client's node")
    perf.add_argument("--tolerations", default="", metavar="KEYS", help="NoSchedule taints to tolerate")
    perf.add_argument("--test-namespace", default="cilium-test", help='"-1" is appended (default %(default)s)')
    perf.add_argument(
        "--tool", choices=("netperf", "iperf3", "kubedyno"), default="netperf", help="what makes the traffic"
    )
    perf.add_argument(
        "--image", "--performance-image", default="", help="of all pods, e.g. from a registry of your own"
    )
    perf.add_argument(
        "--udp-rate", default="1G", help="bits a second of iperf3's and our UDP streams (default %(default)s)"
    )
    perf.add_argument("--report-dir", type=Path, metavar="DIR", help="gets a JSON file for perfdash")
    perf.add_argument("--csv", type=Path, metavar="FILE", help="gets a line for each test, as k8s-netperf writes it")
    perf.add_argument(
        "--tcp-tolerance", type=float, metavar="PERCENT",
        help="exit with 1 where TCP_STREAM of pods is so much below that of hosts (k8s-netperf's rule, its default 10)",
    )  # fmt: skip
    perf.add_argument(
        "--manifest", metavar="FILE",
        help="instead: iperf3 between the Deployments of this file, as it is (the study's iperf3.yaml), by the study's "
        "commands, through its Service and straight to the pod",
    )  # fmt: skip
    shaping = perf.add_mutually_exclusive_group()
    shaping.add_argument(
        "--net-qos", action="store_true", help="only check priorities: 8 to 9 times as much for the higher one"
    )
    shaping.add_argument("--bandwidth", action="store_true", help="only check that annotations of 10M hold")
    perf.add_argument(
        "--unsafe-capture-kernel-profiles", action="store_true",
        help="profile both nodes by `perf` in privileged pods during tests between them; needs --report-dir",
    )  # fmt: skip
    _add_cluster(perf)
    perf.set_defaults(handle=_perf)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kubeconfig", metavar="FILE", help="of the cluster (default: KUBECONFIG, or the embedded one)"
    )
    parser.add_argument("--kube-context", "--context", dest="kube_context", metavar="NAME", help="its context")
    parser.add_argument("--yes", action="store_true", help="do not ask before a real cluster is loaded")
    parser.add_argument(
        "--namespace-labels", default="", metavar="K=V,...",
        help="of the namespace that is made, e.g. pod-security.kubernetes.io/enforce=privileged",
    )  # fmt: skip
    parser.add_argument("--directory", type=Path, default=Path(), help="where documents go (default: here)")


def _add_test(test: argparse.ArgumentParser) -> None:
    test.add_argument(
        "--test", action="append", default=[], metavar="REGEX",
        help="run the tests that match; !REGEX leaves out, REGEX/SCENARIO chooses by scenario (repeatable, or commas)",
    )  # fmt: skip
    test.add_argument("--single-node", action="store_true", help="nothing on a second node")
    test.add_argument("-v", "--verbose", action="store_true", help="tell scenarios and actions of tests that pass too")
    test.add_argument("--timeout", default="0s", help="of all tests together, 0s: none (default %(default)s)")
    test.add_argument("--connect-timeout", default="2s", help="of each connection (default %(default)s)")
    test.add_argument("--request-timeout", default="10s", help="of each request (default %(default)s)")
    test.add_argument("--test-namespace", default="cilium-test", help='"-1" is appended (default %(default)s)')
    test.add_argument("--tolerations", default="", metavar="KEYS", help="NoSchedule taints to tolerate")
    for flag, default, text in _OUTSIDE:
        test.add_argument(f"--{flag}", default=default, help=f"{text} (default %(default)s)")
    test.add_argument("--curl-image", default="", help="of clients: curl and sleep")
    test.add_argument("--json-mock-image", default="", help="of servers: HTTP on port 8080")
    test.add_argument("--junit-file", type=Path, metavar="FILE", help="gets the results as JUnit")
    test.add_argument("--junit-property", action="append", default=[], metavar="K=V", help="of that file (repeatable)")
    _add_cluster(test)
    test.set_defaults(handle=_test)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(arguments.handle(arguments))


def _words(flag: str, text: str, known: tuple[str, ...]) -> list[str]:
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for word in words:
        if word not in known:
            close = get_close_matches(word, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise KubedynoError(f"{flag}: unknown {word!r}; {hint}")
    if not words:
        raise KubedynoError(f"{flag}: name at least one of {', '.join(known)}")
    return words


def _mtu(word: str) -> int:
    # IPv6 needs 1280; VXLAN takes 50 of it.
    if not word.strip().isdigit() or not 1400 <= int(word) <= 65535:
        raise KubedynoError(f"--mtu: {word!r} is no size between 1400 and 65535")
    return int(word)


def _lab(arguments: argparse.Namespace) -> int:
    from kubedyno.datapath import tests
    from kubedyno.datapath.topology import Hook, Place
    from kubedyno.datapath.topology import Path as Datapath
    from kubedyno.lab import netlab

    words = arguments.tests or ("quick" if arguments.quick else "default")
    given = arguments.datapath != ",".join(_DATAPATHS)
    paths = tuple(Datapath(word) for word in _words("--datapath", arguments.datapath, _DATAPATHS))
    big = _words("--big-tcp", arguments.big_tcp or ("192k" if arguments.quick else "192k,512k"), tuple(_BIG_TCP))
    if arguments.seconds is not None and not 0.1 <= arguments.seconds <= 3600:
        raise KubedynoError(f"--seconds: {arguments.seconds:g} is not between 0.1 and 3600")
    more: dict[str, Any] = {}
    if given:
        more["big_tcp_paths"] = paths if arguments.big_tcp else tuple(p for p in paths if p in netlab.BIG_TCP_PATHS)
    return netlab.run(
        netlab.Request(
            paths=paths,
            tests=tuple(tests.chosen(words)),
            rounds=arguments.rounds if arguments.rounds is not None else (6 if arguments.quick else 5),
            places=tuple(Place(word) for word in _words("--place", arguments.place, tuple(Place))),
            families=tuple(int(word) for word in _words("--ip", arguments.ip, ("4", "6"))),
            mtus=tuple(dict.fromkeys(_mtu(word) for word in arguments.mtu.split(","))),
            big_tcp=tuple(size for size in (_BIG_TCP[word] for word in big) if size),
            seconds=arguments.seconds,
            study_times="study" in words.split(",") and arguments.seconds is None,
            quick=arguments.quick,
            own=arguments.generator == "own",
            pinned=not arguments.no_pin,
            congestion_control=arguments.congestion_control,
            hook=None if arguments.hook == "auto" else Hook(arguments.hook),
            json=arguments.json,
            directory=arguments.directory,
            **more,
        )
    )


def _perf(arguments: argparse.Namespace) -> int:
    import sys

    from kubedyno.lab import flags, netperf
    from kubedyno.netperf.plan import Options, Tool, bits_of, pairs_of
    from kubedyno.netperf.run import Outputs
    from kubedyno.netperf.shaping import DURATION_S, Shaping

    for name in ("samples", "streams", "msg_size"):
        if getattr(arguments, name) < 1:
            raise KubedynoError(f"--{name.replace('_', '-')}: must be at least 1")
    kind = Shaping.NET_QOS if arguments.net_qos else Shaping.BANDWIDTH if arguments.bandwidth else None
    usual_s = DURATION_S if kind is not None else 10.0
    duration_s = flags.seconds("--duration", arguments.duration or f"{usual_s:g}s")
    if arguments.manifest is not None and kind is not None:
        raise KubedynoError("--manifest: --net-qos and --bandwidth need pods of their own; leave one out")
    profiles = arguments.unsafe_capture_kernel_profiles
    if profiles and arguments.report_dir is None:
        print("⚠️  Requested kernel profiles, but report-dir is unset, skipping", file=sys.stderr)
        profiles = False
    bits_of(arguments.udp_rate)
    if duration_s <= 0:
        raise KubedynoError("--duration: must be more than nothing")
    options = Options(
        # A manifest's commands have times of their own.
        duration_s=duration_s if arguments.manifest is None or arguments.duration else 0.0,
        setup_delay_s=flags.seconds("--setup-delay", arguments.setup_delay),
        samples=arguments.samples,
        msg_size=arguments.msg_size,
        streams=arguments.streams,
        **{name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name, _, _ in _SWITCHES},
        server_selector=arguments.node_selector_server,
        client_selector=arguments.node_selector_client,
        tool=Tool(arguments.tool),
        image=arguments.image,
        namespace=arguments.test_namespace,
        namespace_labels=pairs_of("--namespace-labels", arguments.namespace_labels),
        tolerations=tuple(word for word in arguments.tolerations.split(",") if word),
        udp_rate=arguments.udp_rate,
        kernel_profiles=profiles,
    )
    return netperf.run(
        options,
        kubeconfig=arguments.kubeconfig,
        context=arguments.kube_context,
        yes=arguments.yes,
        outputs=Outputs(arguments.report_dir, arguments.csv, arguments.tcp_tolerance),
        shaping=kind,
        manifest=arguments.manifest,
        directory=arguments.directory,
    )


def _test(arguments: argparse.Namespace) -> int:
    import sys

    from kubedyno.lab import flags, netperf
    from kubedyno.netperf.connectivity import Options
    from kubedyno.netperf.plan import pairs_of

    images = {"curl_image": arguments.curl_image, "echo_image": arguments.json_mock_image}
    properties = {"Args": "|".join(sys.argv[1:])}
    for pair in arguments.junit_property:
        name, equals, value = pair.partition("=")
        if not equals:
            raise KubedynoError(f"--junit-property {pair}: write NAME=VALUE")
        properties[name] = value
    options = Options(
        tests=tuple(word for text in arguments.test for word in text.split(",") if word),
        single_node=arguments.single_node,
        connect_timeout_s=max(1, round(flags.seconds("--connect-timeout", arguments.connect_timeout))),
        request_timeout_s=max(1, round(flags.seconds("--request-timeout", arguments.request_timeout))),
        verbose=arguments.verbose,
        timeout_s=flags.seconds("--timeout", arguments.timeout),
        namespace=arguments.test_namespace,
        namespace_labels=pairs_of("--namespace-labels", arguments.namespace_labels),
        tolerations=tuple(word for word in arguments.tolerations.split(",") if word),
        **{name: image for name, image in images.items() if image},
        **{flag.replace("-", "_"): getattr(arguments, flag.replace("-", "_")) for flag, _, _ in _OUTSIDE},
    )
    return netperf.check(
        options,
        kubeconfig=arguments.kubeconfig,
        context=arguments.kube_context,
        yes=arguments.yes,
        junit=arguments.junit_file,
        properties=properties,
        directory=arguments.directory,
    )
