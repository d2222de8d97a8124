"""`kubedyno features`: Kubernetes features by version, and which of them a cluster has."""

import argparse
from typing import Any

from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("action", nargs="?", choices=("demo",), help="demo NAME: show a feature on a cluster")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the demonstration; without one they are listed")
    parser.add_argument("--yes", action="store_true", help="with demo: do not ask before a real cluster is used")
    parser.add_argument("--target", default="1.34", metavar="VERSION", help="Kubernetes version (default %(default)s)")
    parser.add_argument("--cluster", action="store_true", help="ask a cluster instead of a version")
    parser.add_argument("--try-fields", action="store_true", help="with --cluster: send dry runs, which keep nothing")
    parser.add_argument("--wide", action="store_true", help="fields, performance, notes and sources too")
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml", "kyaml"), default="table")
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from kubedyno.advisor import features
    from kubedyno.base.errors import KubedynoError
    from kubedyno.kube import forms
    from kubedyno.report.text import table

    if arguments.action == "demo":
        return _demo(arguments)
    if arguments.try_fields and not arguments.cluster:
        raise KubedynoError("--try-fields: asks a cluster: give --cluster too")
    rows: list[tuple[str, ...]] = []
    documents: list[dict[str, Any]] = []
    lines: list[str] = []
    missing: tuple[str, ...] = ()
    if arguments.cluster:
        cluster = _read(arguments)
        missing = cluster.missing
        lines.append(f"Kubernetes {cluster.version}")
        header: tuple[str, ...] = ("FEATURE", "GATE", "STATE", "FOUND BY", "SURE")
        for seen in cluster.features:
            rows.append((seen.feature.name, seen.feature.gate or "-", seen.state, seen.how, seen.sure))
            documents.append(_document(seen.feature) | {"state": seen.state, "how": seen.how, "sure": seen.sure})
    else:
        version = features.target(arguments.target)
        lines.append("Kubernetes {}.{}, etcd {}.{}".format(*version, *features.etcd_of(version)))
        header = ("FEATURE", "GATE", "STAGE", "DEFAULT", "SINCE")
        for feature in features.table():
            # etcd's versions are its own.
            stage = feature.at(features.etcd_of(version) if feature.component == "etcd" else version)
            since = f"{stage.version[0]}.{stage.version[1]}" if stage else "-"
            shown = (stage.stage, "on" if stage.on else "off") if stage else ("not there", "-")
            rows.append((feature.name, feature.gate or "-", *shown, since))
            documents.append(_document(feature) | {"stage": shown[0], "default": shown[1], "since": since})
    if arguments.output != "table":
        print(forms.text_of({"features": documents, "missing": list(missing)}, arguments.output), end="")
        return 0
    lines += table(header, rows)
    if arguments.wide:
        for feature in features.table():
            lines += ["", feature.name, f"  field: {feature.field}", f"  performance: {feature.performance}"]
            lines += [f"  note: {feature.note}"] if feature.note else []
            lines += [f"  metrics: {', '.join(feature.metrics)}"] if feature.metrics else []
            lines += [f"  warning: {feature.warning}"] if feature.warning else []
            lines.append(f"  source: {feature.source}")
    else:
        lines += [f"note: {feature.name}: {feature.note}" for feature in features.table() if feature.note]
    lines += [f"not read: {text}" for text in missing]
    print("\n".join(lines))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    """Run a demonstration; exit code 0 when it was shown, 2 when the cluster does not have or model it."""
    from kubedyno.base import aio
    from kubedyno.base.errors import KubedynoError
    from kubedyno.kube import forms
    from kubedyno.lab import featuredemos, target

    if not arguments.name:
        print("\n".join(featuredemos.DEMOS))
        return 0
    if arguments.name not in featuredemos.DEMOS:
        raise KubedynoError(f"features demo {arguments.name}: there are {', '.join(featuredemos.DEMOS)}")
    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    shown = aio.run(featuredemos.demonstrate(choice, arguments.name, yes=arguments.yes))
    if arguments.output == "table":
        print("\n".join([f"{arguments.name}: {shown.verdict}", *(f"  {line}" for line in shown.lines)]))
    else:
        print(
            forms.text_of(
                {"name": arguments.name, "verdict": shown.verdict, "lines": list(shown.lines)}, arguments.output
            ),
            end="",
        )
    return 0 if shown.verdict == "shown" else 2


def _read(arguments: argparse.Namespace) -> Any:
    import os

    from kubedyno.advisor import features
    from kubedyno.base import aio
    from kubedyno.client.api import Client
    from kubedyno.lab import advise, target

    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    kubectl = advise.kubectl_version()
    kyaml = os.environ.get("KUBECTL_KYAML", "").lower() == "true"

    async def read() -> features.Cluster:
        async with Client(choice.target) as client:
            await target.greet(client)
            return await features.read(client, try_fields=arguments.try_fields, kubectl=kubectl, kubectl_kyaml=kyaml)

    return aio.run(read())


def _document(feature: Any) -> dict[str, Any]:
    return {
        "name": feature.name,
        "gate": feature.gate,
        "component": feature.component,
        "stages": [[".".join(map(str, one.version)), one.stage, one.on] for one in feature.stages],
        "field": feature.field,
        "performance": feature.performance,
        "note": feature.note,
        "source": feature.source,
    }
