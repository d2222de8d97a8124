"""`kubedyno cluster chaos`: faults on purpose in a running cluster's API."""

import argparse
from typing import Any

from kubedyno.base.errors import KubedynoError

DEFAULT_NAME = "kubedyno"
_PATH = "/kubedyno/chaos"
# Fault → (what it does, its own flags as (flag, member, type, help)).
_FAULTS: dict[str, tuple[str, tuple[tuple[str, str, type, str], ...]]] = {
    "latency": (
        "requests wait before anything is done",
        (
            ("--ms", "latency_ms", float, "how long (default 100)"),
            ("--jitter-ms", "jitter_ms", float, "and up to so much more (default 0)"),
        ),
    ),
    "reject": ("429 with Retry-After", (("--retry-after", "retry_after_s", int, "seconds to come back after (1)"),)),
    "error": (
        "500, 503 or 504",
        (
            ("--code", "code", int, "500, 503 or 504 (default 500)"),
            ("--applied", "applied", bool, "act on the request, and lose only the answer"),
        ),
    ),
    "drop": (
        "watches are cut",
        (
            ("--after-ms", "after_ms", float, "so long after their start (default 1000)"),
            ("--clean", "clean", bool, "end them properly, as a timeout does"),
        ),
    ),
    "stale": ("lists are answered from the past", (("--lag", "lag_s", float, "seconds back (default 2)"),)),
    "skew": ("the cluster's clock is off", (("--seconds", "skew_s", float, "how much, forward or back"),)),
}


def add_arguments(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = verbs.add_parser("chaos", help="let requests fail on purpose: latency, 429, 500, cut watches and more")
    actions = parser.add_subparsers(dest="fault", metavar="FAULT|list|clear", required=True)
    for fault, (text, flags) in _FAULTS.items():
        one = actions.add_parser(fault, help=text)
        for flag, member, kind, about in flags:
            if kind is bool:
                one.add_argument(flag, dest=member, action="store_true", default=None, help=about)
            else:
                one.add_argument(flag, dest=member, type=kind, metavar="N", help=about)
        if fault != "skew":
            one.add_argument("--verb", dest="verbs", action="append", metavar="VERB", help="get, list, watch, create …")
            one.add_argument(
                "--resource",
                dest="resources",
                action="append",
                metavar="NAME",
                help="pods, deployments.apps, pods/log …",
            )
            one.add_argument("--probability", type=float, metavar="P", help="of each request's being hit (default 1)")
        one.add_argument("--duration", metavar="DURATION", help="after which the rule goes (default: when cleared)")
        one.add_argument("--seed", type=int, metavar="N", help="of its decisions (default 1)")
        _name(one)
        one.set_defaults(handle=_add)
    listing = actions.add_parser("list", help="show the rules and how often each has hit")
    _name(listing)
    listing.set_defaults(handle=_list)
    clear = actions.add_parser("clear", help="take all rules away, or one")
    clear.add_argument("id", nargs="?", default="", help="of the rule")
    _name(clear)
    clear.set_defaults(handle=_clear)


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=DEFAULT_NAME, help="cluster name (default %(default)s)")


def _add(arguments: argparse.Namespace) -> int:
    import json

    from kubedyno.base.times import duration_ns_of
    from kubedyno.lab import control

    members = [member for _, member, _, _ in _FAULTS[arguments.fault][1]]
    members += ["verbs", "resources", "probability", "seed"]
    rule: dict[str, Any] = {"fault": arguments.fault}
    rule |= {member: value for member in members if (value := getattr(arguments, member, None)) is not None}
    if arguments.duration is not None:
        try:
            rule["duration_s"] = duration_ns_of(arguments.duration) / 1e9
        except ValueError as error:
            raise KubedynoError(f"--duration {arguments.duration}: {error}; write for example 30s") from error
    return _show(control.call(arguments.name, "POST", _PATH, json.dumps(rule).encode()))


def _list(arguments: argparse.Namespace) -> int:
    from kubedyno.lab import control

    return _show(control.call(arguments.name, "GET", _PATH))


def _clear(arguments: argparse.Namespace) -> int:
    from kubedyno.lab import control

    return _show(control.call(arguments.name, "DELETE", f"{_PATH}/{arguments.id}" if arguments.id else _PATH))


def _show(answer: dict[str, Any]) -> int:
    from kubedyno.report.text import table

    rules = answer["rules"]
    if not rules:
        print("nothing fails on purpose")
        return 0
    rows = []
    for rule in rules:
        own = ", ".join(f"{member} {rule[member]:g}" for _, member, _, _ in _FAULTS[rule["fault"]][1] if rule[member])
        if rule["probability"] < 1:
            own += f", probability {rule['probability']:g}"
        where = " ".join(rule["verbs"] or ["all"]), " ".join(rule["resources"] or ["all"])
        left = "until cleared" if rule["left_s"] is None else f"{rule['left_s']:.0f} s"
        rows.append((str(rule["id"]), rule["fault"], *where, own, left, str(rule["hits"])))
    print("\n".join(table(("ID", "FAULT", "VERBS", "RESOURCES", "HOW", "LEFT", "HITS"), rows)))
    return 0
