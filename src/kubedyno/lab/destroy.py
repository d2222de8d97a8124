"""Deleting what the jobs of a configuration created, whatever run of them it was."""

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.client.api import Client
from kubedyno.lab import session, target
from kubedyno.lab.target import Choice
from kubedyno.load.engine.cleanup import Removed, collect
from kubedyno.load.engine.mapping import discover
from kubedyno.load.engine.patience import PatientClient


async def destroy(request: session.Request, choice: Choice, *, yes: bool) -> Removed:
    """Delete by job label, job by job; returns what there was.

    Raises:
        KubedynoError: Something is still there when the time is up.
    """
    prepared = session.prepare(request)
    removed = Removed()
    # The run's own cluster, and those that jobs name; each is asked for, and looked at, once.
    for path in dict.fromkeys(job.spec.kubeconfig for job in prepared.plan.jobs):
        where = target.choose(path, None) if path else choice
        async with Client(where.target) as client:
            target.confirm(await target.describe(client, where), yes=yes)
            mappings = await discover(client)
            for job in prepared.plan.jobs:
                if job.spec.kubeconfig != path:
                    continue
                outside = [
                    (mapping, namespace)
                    for kind, api_version, namespace in job.outside
                    if (mapping := mappings.find(api_version, kind)) is not None
                ]
                removed += await collect(
                    PatientClient(client),
                    f"kube-burner.io/job={job.spec.name}",
                    outside,
                    SYSTEM_CLOCK,
                    request.timeout_s,
                )
    return removed


async def by_uuid(uuid: str, choice: Choice, timeout_s: float, *, yes: bool, quiet: bool = False) -> Removed:
    """Delete what one run created, whatever its jobs: its namespaces, and its cluster-scoped objects of every kind.

    Returns:
        What there was.

    Raises:
        KubedynoError: Something is still there when the time is up.
    """
    async with Client(choice.target) as client:
        target.confirm(await target.describe(client, choice), yes=yes, quiet=quiet)
        mappings = await discover(client)
        outside = [
            (mapping, "")
            for mapping in mappings.all()
            if not mapping.namespaced and {"list", "deletecollection"} <= mapping.verbs
        ]
        return await collect(PatientClient(client), f"kube-burner.io/uuid={uuid}", outside, SYSTEM_CLOCK, timeout_s)
