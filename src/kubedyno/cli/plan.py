"""`kubedyno plan`: what a configuration would do, without doing it."""

import argparse

from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `init` that change what would be done, and ours."""
    parser.add_argument("-c", "--config", required=True, help="configuration file (path or http(s) URL)")
    parser.add_argument("--user-data", help="file of template variables, YAML or JSON")
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=v", help="change a value of the configuration"
    )
    parser.add_argument("--allow-missing", action="store_true", help="missing template variables are no error")
    parser.add_argument("--compat", type=int, choices=(1, 2), default=2, help="kube-burner 1.17 or 2.x defaults")
    parser.add_argument("--offline", action="store_true", help="ask no cluster what it can hold")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tell; exit code 1 for an error of a template, or when the cluster cannot hold it."""
    import dataclasses

    import orjson

    from kubedyno.base import aio
    from kubedyno.base.errors import KubedynoError
    from kubedyno.base.terminal import printable_lines
    from kubedyno.client.api import Client
    from kubedyno.kube.status import StatusError
    from kubedyno.lab import dryrun, session, target

    prepared = session.prepare(
        session.Request(
            config=arguments.config,
            user_data=arguments.user_data,
            set_values=arguments.set,
            allow_missing=arguments.allow_missing,
            compat=arguments.compat,
        )
    )
    jobs = dryrun.forecast(prepared)
    held: dryrun.Capacity | None = None
    choice, failed = None, None
    if not arguments.offline:
        try:
            choice = target.choose(arguments.kubeconfig, arguments.kube_context)
        except KubedynoError:
            if target.given(arguments.kubeconfig) or arguments.kube_context:
                raise
    if choice is not None:
        chosen = choice.target

        async def ask() -> dryrun.Capacity:
            async with Client(chosen) as client:
                return await dryrun.capacity(client, jobs, prepared.plan)

        try:
            held = aio.run(ask())
        except (KubedynoError, StatusError) as error:
            # What needs no cluster is told all the same.
            failed = error
    if arguments.json:
        document = {
            "jobs": [dataclasses.asdict(job) for job in jobs],
            "cannotHold": None if held is None else held.missing,
            "notCompared": None if held is None else held.unread,
        }
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        print(printable_lines("\n".join(dryrun.lines_of(jobs, held))))
        if held is None:
            print(
                "no cluster was asked what it can hold" if failed is None else "what the cluster can hold is not known"
            )
    if failed is not None:
        raise failed
    return 1 if (held is not None and held.missing) or any(job.errors for job in jobs) else 0
