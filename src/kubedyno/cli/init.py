"""`kubedyno init`: runs the jobs of a kube-burner configuration."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kubedyno.cli.switches import add_switch

if TYPE_CHECKING:
    from kubedyno.lab.liveview import LiveView
    from kubedyno.lab.ownmetrics import OwnMetrics
    from kubedyno.lab.session import Request
    from kubedyno.lab.target import Choice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add kube-burner's flags and ours."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-c", "--config", help="configuration file (path or http(s) URL)")
    where.add_argument("--configmap", help="ConfigMap whose keys are files, config.yml among them")
    parser.add_argument("-n", "--namespace", default="default", help="of the ConfigMap (default %(default)s)")
    parser.add_argument("-e", "--metrics-endpoint", help="YAML list of endpoints instead of the configuration's")
    parser.add_argument("--uuid", help="benchmark id (default: a random one)")
    parser.add_argument("--timeout", default="4h", help="of the whole run, a Go duration (default %(default)s)")
    parser.add_argument("--log-level", default="info", help="error, warn, info, debug or trace (default %(default)s)")
    add_switch(parser, "--skip-log-file", "write no kube-burner-<uuid>.log")
    parser.add_argument("--user-data", help="file of template variables, YAML or JSON")
    parser.add_argument("--user-metadata", help="YAML file merged into documents")
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=v", help="change a value of the configuration"
    )
    add_switch(parser, "--allow-missing", "missing template variables are no error")
    parser.add_argument("--compat", type=int, choices=(1, 2), default=2, help="kube-burner 1.17 or 2.x defaults")
    parser.add_argument(
        "--gone-after", metavar="DURATION", default="1m",
        help="end when the cluster answers nothing for so long (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--fail-when-stuck",
        metavar="DURATION",
        help="end when nothing changes by itself for so long (--find-limit: 30s)",
    )
    parser.add_argument("--ephemeral", action="store_true", help="remove the embedded cluster afterwards")
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="serve kubedyno's own metrics on 127.0.0.1:PORT/metrics"
    )
    add_view_flags(parser)
    parser.add_argument("--yes", action="store_true", help="load a real cluster without asking")
    parser.add_argument(
        "--sweep", action="append", default=[], metavar="a.b=v1,v2", help="run every combination, cleaned up between"
    )
    parser.add_argument("--repeat", type=int, default=1, help="runs of each combination of a sweep")
    parser.add_argument("--find-limit", metavar="a.b=N..M", help="raise a value until an SLO breaks; say where and why")
    parser.add_argument(
        "--slo",
        help="file of limits (`Ready.p99_ms: 5000`): exit code 1 when a run that ended well does not keep them; of "
        "--find-limit: what breaks (default pod-startup-p99=5s,api-p99=1s,errors=1%%)",
    )
    add_target_flags(parser)
    add_switch(parser, "--skip-tls-verify", "as in kube-burner without effect: each endpoint's skipTLSVerify counts")


def add_view_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a run's page."""
    parser.add_argument("--view", action="store_true", help="a live page of the run, on 127.0.0.1, while it lasts")
    parser.add_argument("--view-port", type=int, metavar="PORT", help="--view on this port (default: a free one)")
    parser.add_argument("--stay", action="store_true", help="--view, and keep it after the run until Ctrl-C")


def add_target_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose a cluster."""
    parser.add_argument("--kubeconfig", help="kubeconfig file (default: $KUBECONFIG, then ~/.kube/config)")
    parser.add_argument("--kube-context", help="context of the kubeconfig")


def left_line(namespaces: list[str]) -> str:
    """Return e.g. "left on the cluster: 3 namespaces with what is in them (a-0, a-1, a-2)"."""
    shown = ", ".join(namespaces[:5]) + (", …" if len(namespaces) > 5 else "")
    count = "1 namespace" if len(namespaces) == 1 else f"{len(namespaces)} namespaces"
    return f"left on the cluster: {count} with what is in {'it' if len(namespaces) == 1 else 'them'} ({shown})"


def _series(arguments: argparse.Namespace, request: "Request", choice: "Choice") -> int:
    """Run a sweep, or search a limit; exit code 1 when a run of a sweep failed, or no value kept the SLO."""
    from kubedyno.base.errors import EXIT_INTERRUPTED
    from kubedyno.base.terminal import aligned
    from kubedyno.documents.run import Chapter
    from kubedyno.lab import session, target, trials

    target.confirm_series(choice, yes=arguments.yes)
    if arguments.find_limit:
        limit, done = trials.find_limit(
            request, choice, arguments.find_limit, trials.slo_of(arguments.slo), lambda line: print(line, flush=True)
        )
        print("\n".join(["", *trials.limit_lines(limit)]))
        code, title = (1 if limit.kept is None else 0), f"limit of {limit.path}"
        chapter = Chapter(title, trials.limit_lines(limit), None, trials.table(done), trials.charts(done))
    else:
        done = trials.sweep(request, choice, arguments.sweep, arguments.repeat, lambda line: print(line, flush=True))
        rows, changed = trials.table(done), trials.effects(done)
        print("\n".join(["", *aligned(rows), *([""] if changed else []), *changed]))
        chapter = Chapter("sweep", changed, None, rows, trials.charts(done))
        code, title = (1 if any(trial.document.exit_code for trial in done) else 0), "sweep"
        code = EXIT_INTERRUPTED if any(trial.document.interrupted for trial in done) else code
    chapters = [chapter]
    chapters += [
        Chapter(", ".join(f"{path}={value}" for path, value in trial.values), [], trial.document) for trial in done
    ]
    name = done[-1].document.uuid
    report = session.write_report(request.directory, name, f"kubedyno: {title} of {arguments.config}", chapters)
    print(f"\nreport: {report}")
    return code


def _destroy(arguments: argparse.Namespace) -> str:
    """Return the command that removes what a run left, on the very cluster that it ran on."""
    import shlex

    words = ["kubedyno", "destroy", "-c", arguments.config]
    for flag in ("kubeconfig", "kube_context"):
        if value := getattr(arguments, flag):
            words += [f"--{flag.replace('_', '-')}", value]
    return shlex.join(words)


def _stay(arguments: argparse.Namespace, live: "LiveView | None") -> None:
    """Keep the page where that is wanted; the cluster is still there."""
    if live is not None and arguments.stay:
        live.stay()


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns kube-burner's exit code."""
    from kubedyno.lab import liveview, ownmetrics

    port = liveview.port_of(view=arguments.view, port=arguments.view_port, stay=arguments.stay)
    with (
        ownmetrics.serving(arguments.metrics_port, "init") as own,
        liveview.opened(port, lambda line: print(line, flush=True)) as live,
    ):
        return _run(arguments, own, live)


def _run(arguments: argparse.Namespace, own: "OwnMetrics", live: "LiveView | None") -> int:
    import logging

    from kubedyno.base import aio
    from kubedyno.base.errors import KubedynoError
    from kubedyno.base.terminal import printable
    from kubedyno.cli.cluster import print_how_to
    from kubedyno.cluster.settings import ClusterSettings
    from kubedyno.lab import embedded, flags, session, sources, target
    from kubedyno.report import figures

    # A log line whose reader went away (`| head`) is no news: the run goes on, and its files are written.
    logging.raiseExceptions = False
    if arguments.configmap:
        chosen = target.choose(arguments.kubeconfig, arguments.kube_context)
        arguments.config = aio.run(sources.fetch_configmap(chosen, arguments.namespace, arguments.configmap, Path()))
    request = session.Request(
        config=arguments.config,
        uuid=arguments.uuid,
        user_data=arguments.user_data,
        set_values=arguments.set,
        allow_missing=arguments.allow_missing,
        user_metadata=flags.user_metadata(arguments.user_metadata),
        user_metadata_file=arguments.user_metadata,
        timeout_s=flags.seconds("--timeout", arguments.timeout),
        compat=arguments.compat,
        log_level=flags.log_level(arguments.log_level),
        skip_log_file=arguments.skip_log_file,
        fail_when_stuck_s=flags.seconds("--fail-when-stuck", arguments.fail_when_stuck),
        gone_after_s=flags.seconds("--gone-after", arguments.gone_after),
        directory=Path(),
        metrics_endpoint=arguments.metrics_endpoint,
        own=own,
        live=live,
    )
    limits = None
    if arguments.slo is not None and not arguments.find_limit:
        if arguments.sweep:
            raise KubedynoError("--slo: of one run or of --find-limit; check a sweep's runs with kubedyno report --slo")
        limits = figures.read_limits(Path(arguments.slo))
    # What is wrong with a configuration or a template is told before a cluster is started for it.
    prepared = session.prepare(request)
    choice = target.choose(arguments.kubeconfig, arguments.kube_context, ClusterSettings())
    if choice.running is not None and not target.given(arguments.kubeconfig):
        verb = "started" if choice.running.started else "re-used"
        print(f"no kubeconfig found: {verb} the embedded cluster {choice.running.name}")
    if live is not None:
        given = choice.running.kubeconfig if choice.running is not None else arguments.kubeconfig
        live.look(given, None if choice.running is not None else arguments.kube_context)
    if arguments.sweep or arguments.find_limit:
        try:
            code = _series(arguments, request, choice)
            _stay(arguments, live)
            return code
        finally:
            if choice.running is not None and arguments.ephemeral:
                embedded.down(choice.running.name)
    try:
        document = aio.run(session.run(request, choice, yes=arguments.yes, prepared=prepared))
        # Written before anything is printed: whoever reads our output may be gone by now.
        with aio.interrupted_later():
            chapter = session.chapter_of(f"Run of {arguments.config}", [], document)
            report = session.write_report(request.directory, document.uuid, f"kubedyno: {arguments.config}", [chapter])
        print("\n".join(["", *session.summary_lines(document)]))
        breached = [] if limits is None else figures.breaches([document], limits, arguments.slo)
        for breach in breached:
            print(f"limit not kept: {printable(breach.line)}")
        if document.left and not arguments.ephemeral:
            print(f"\n{left_line(document.left)}\n  remove it with: {_destroy(arguments)}")
        print(f"\nreport: {report}")
        if not document.interrupted:
            _stay(arguments, live)
    finally:
        if choice.running is not None and arguments.ephemeral:
            embedded.down(choice.running.name)
            print(f"cluster {choice.running.name} is down")
    if choice.running is not None and embedded.find(choice.running.name) is None:
        log = choice.running.log
        print(
            f"cluster {choice.running.name} is gone: it ended during the run"
            + (f"; its log: {log}" if log.exists() else "")
        )
    elif choice.running is not None and not arguments.ephemeral and not target.given(arguments.kubeconfig):
        print(f"cluster {choice.running.name} stays up (it ends itself after 30 idle minutes)")
        print_how_to(choice.running.name, choice.running.kubeconfig)
    return document.exit_code or (1 if breached else 0)
