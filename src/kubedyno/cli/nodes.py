"""`kubedyno cluster node`: nodes of a running embedded cluster come, go, fail and come back."""

import argparse

from kubedyno.base.errors import KubedynoError

DEFAULT_NAME = "kubedyno"
# Verb → (what it does, what is printed).
_MACHINE = {
    "kill": ("switch the machine off without a word: its lease runs out", "is off"),
    "start": ("switch the machine on: its pods' containers start again", "is on"),
    "shutdown": ("shut the machine down: pods have shutdownGracePeriod to end", "is shutting down"),
    "not-ready": ("have the kubelet report that it is not ready", "is not ready"),
    "ready": ("end not-ready and pressure", "is ready"),
    "pressure": ("be short of something: a pod is evicted every 10 s until `ready`", "is short of {what}"),
}


def add_arguments(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = verbs.add_parser("node", help="add, remove, drain, cordon, kill, start … nodes of a running cluster")
    actions = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    parsers = {
        "add": "add a node",
        "remove": "take a node away, and its Node",
        "cordon": "let no new pods onto it",
        "uncordon": "let pods onto it again",
        "drain": "cordon it and evict its pods",
        **{verb: text for verb, (text, _) in _MACHINE.items()},
    }
    for verb, text in parsers.items():
        one = actions.add_parser(verb, help=text)
        one.add_argument("node", help="node name")
        if verb == "add":
            one.add_argument(
                "--class",
                dest="settings",
                default="",
                metavar="KEY=VALUE,…",
                help="cpu, memory, pods, zone, kernel, mask, label.NAME",
            )
        elif verb == "drain":
            one.add_argument("--timeout", default="5m", metavar="DURATION", help="give up after (default %(default)s)")
        elif verb == "not-ready":
            one.add_argument("--why", default="", metavar="TEXT", help="the condition's message")
        elif verb == "pressure":
            one.add_argument("what", choices=("memory", "disk", "pid"))
        one.add_argument("--name", default=DEFAULT_NAME, help="cluster name (default %(default)s)")
    parser.set_defaults(handle=_run)


def _run(arguments: argparse.Namespace) -> int:
    from kubedyno.lab import nodeverbs

    cluster, node, verb = arguments.name, arguments.node, arguments.verb
    if verb == "add":
        nodeverbs.add(cluster, node, arguments.settings)
        print(f"{node}: added; it is Ready as soon as it has a PodCIDR")
    elif verb == "remove":
        nodeverbs.remove(cluster, node)
        print(f"{node}: removed")
    elif verb in {"cordon", "uncordon"}:
        changed = nodeverbs.cordon(cluster, node, on=verb == "cordon")
        print(f"{node}: {'' if changed else 'already '}{verb}ed")
    elif verb == "drain":
        evicted, staying = nodeverbs.drain(cluster, node, _seconds(arguments.timeout))
        print(f"{node}: drained, {evicted} pods evicted" + (f", {staying} of the node itself stay" if staying else ""))
    else:
        told = {name: getattr(arguments, name, "") for name in ("why", "what")}
        nodeverbs.machine(cluster, node, verb, **told)
        print(f"{node}: {_MACHINE[verb][1].format(**told)}")
    return 0


def _seconds(text: str) -> float:
    from kubedyno.base.times import duration_ns_of

    try:
        return duration_ns_of(text) / 1e9
    except ValueError as error:
        raise KubedynoError(f"--timeout {text}: {error}; write for example 30s") from error
