"""The clusters of one run: its own, and those of the kubeconfigs that jobs name; and whether they serve what is asked."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.load.config.spec import JobSpec
from kubedyno.load.engine.context import Kinds
from kubedyno.load.plan.plan import JobPlan

log = logger(__name__)

# Objects of these kinds make the cluster serve others.
BRINGING = frozenset({"CustomResourceDefinition", "APIService", "Subscription"})


class Targets:
    """Clients by job.

    Args:
        client: Of the run's own cluster.
        connect: Makes a client of the kubeconfig that a job names.
    """

    def __init__(self, client: Client, connect: Callable[[str], Client] | None) -> None:
        self.client = client
        self.kinds = Kinds(client)
        self._connect = connect

    @asynccontextmanager
    async def of(self, spec: JobSpec) -> AsyncIterator[tuple[Client, Kinds]]:
        """Yield the client of a job, and what its cluster serves.

        Raises:
            KubedynoError: The job's own cluster cannot be reached.
        """
        if not spec.kubeconfig:
            yield self.client, self.kinds
            return
        if self._connect is None:
            raise KubedynoError(f"job {spec.name}: kubeconfig: only one target here")
        async with self._connect(spec.kubeconfig) as client:
            kinds = Kinds(client)
            await kinds.refresh()
            yield client, kinds

    async def check_kinds(self, jobs: Sequence[JobPlan]) -> None:
        """Say which kinds of the jobs are not served, before anything is made.

        The first job's fail the run. Whatever came before a later one may still bring its kinds: a definition is
        trusted to, an operator that installs its own may, so of those there is a warning.

        Raises:
            KubedynoError: Nothing before a job could bring a kind that it needs.
        """
        trusted = made = False
        for job in jobs:
            spec = job.spec
            trusted = trusted or bool(spec.hooks) or any(item.kind in BRINGING for item in job.objects)
            wanted = [(item.api_version, item.kind, item.template) for item in job.objects]
            wanted += [(target.api_version, target.kind, f"job {spec.name}") for target in job.targets]
            async with self.of(spec) as (_, kinds):
                missing = [] if trusted else [one for one in wanted if kinds.known(one[0], one[1]) is None]
            for api_version, kind, what in missing:
                line = f"{what}: the cluster serves no {kind} of {api_version}"
                if not made:
                    raise KubedynoError(line)
                log.warning("%s; job %s fails unless an earlier one brings it", line, spec.name)
            made = made or bool(job.objects)
