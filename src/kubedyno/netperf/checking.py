"""A connectivity test from its options to its end: deploy, check under each test's policies, tell, remove."""

import asyncio
from itertools import groupby

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.client.exec import Done
from kubedyno.netperf import checkobjects, connectivity, plan
from kubedyno.netperf.checkobjects import Found
from kubedyno.netperf.connectivity import CONTAINER, ECHO, By, Check, Options, Test
from kubedyno.netperf.deployments import Object
from kubedyno.netperf.outcome import Outcome, summary_of
from kubedyno.netperf.workspace import Say, Workspace

_POLICIES = "/apis/networking.k8s.io/v1|networkpolicies"
_GRACE_S = 60.0
# For a policy to reach the nodes: what is checked sooner says nothing about it.
_SETTLE_S = 1.0
# curl's codes of a connection that is dropped or refused (and, under egress rules, of a name that is not resolved).
_UNRESOLVED = 6
_DENIALS = frozenset({_UNRESOLVED, 7, 28, 52, 56})
# ping's, when no answer came.
_UNANSWERED = 1


class Checking:
    """One connectivity test of one cluster.

    Args:
        client: Of the cluster.
        options: What to check.
        clock: For waits and times.
        say: Takes lines of progress; None: stderr.
    """

    def __init__(self, client: Client, options: Options, clock: Clock = SYSTEM_CLOCK, say: Say | None = None) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._space = Workspace(client, options.full_namespace, "net test", clock, say, options.namespace_labels)
        self._say = self._space.say
        self._node_ports: dict[str, int] = {}
        self._hosts: dict[str, str] = {}
        self._told: list[str] = []
        self.outcomes: list[Outcome] = []

    @property
    def passed(self) -> bool:
        return not any(one.failures for one in self.outcomes)

    async def run(self) -> list[str]:
        """Check; returns the closing lines.

        Raises:
            KubedynoError: The cluster refuses, a pod does not become Ready, or no test is chosen.
        """
        options, space = self._options, self._space
        every = await self._client.list_all("/api/v1/nodes")
        nodes = list(plan.candidates(every, "", options.tolerations))
        if not nodes:
            tainted = ", ".join(plan.tainted(every, options.tolerations)) or "there is none"
            raise KubedynoError(f"net test: no node takes pods; tolerate a taint with --tolerations: {tainted}")
        workloads = connectivity.workloads_of(options, nodes[0], nodes[1] if len(nodes) > 1 else "")
        tests = connectivity.tests_of(options, workloads)
        if not tests:
            raise KubedynoError(f"net test: no test is chosen by {', '.join(options.tests)}")
        if all(test.skipped for test in tests):
            for number, test in enumerate(tests, 1):
                self.outcomes.append(self._skipped(test, f"[{number}/{len(tests)}]"))
            return summary_of(space.namespace, self.outcomes)
        async with space:
            for one in workloads:
                await space.deploy(checkobjects.manifest_of(options, one))
                for service in checkobjects.services_of(one) if one.kind == ECHO else ():
                    made = await space.create("/api/v1|services", service)
                    self._node_ports.setdefault(one.name, made["spec"]["ports"][0].get("nodePort", 0))
            pods = await space.ready(one.name for one in workloads)
            # Workloads are on these nodes; a pod knows its node's address.
            self._hosts = {one.node: pods[one.name]["status"]["hostIP"] for one in workloads}
            self._say(f"🏃[{space.namespace}] Running {len(tests)} tests ...")
            try:
                async with aio.timeout(options.timeout_s or None):
                    for number, test in enumerate(tests, 1):
                        self.outcomes.append(await self._test(test, f"[{number}/{len(tests)}]", pods))
            except TimeoutError:
                done = f"{len(self.outcomes)} of {len(tests)} tests were done"
                raise KubedynoError(
                    f"net test: not at its end after --timeout {options.timeout_s:g} s; {done}"
                ) from None
        return summary_of(space.namespace, self.outcomes)

    async def _test(self, test: Test, place: str, pods: dict[str, Object]) -> Outcome:
        if test.skipped:
            return self._skipped(test, place)
        outcome, begun_s = Outcome(test.name, left_out=len(test.left_out)), self._clock.monotonic()
        self._say(f"[=] [{self._space.namespace}] Test [{test.name}] {place}")
        self._told.clear()
        for policy in test.policies:
            await self._space.create(_POLICIES, policy)
        if test.policies:
            await aio.sleep(_SETTLE_S)
        for scenario, checks in groupby(test.checks, lambda check: check.scenario):
            self._tell(f"  [-] Scenario [{test.name}/{scenario}]")
            # What is to be denied only waits for its time to be over: together.
            together = []
            for number, check in enumerate(checks):
                one = self._check(outcome, test, check, number, pods)
                if check.allowed:
                    await one
                else:
                    together.append(asyncio.ensure_future(one))
            try:
                await asyncio.gather(*together)
            finally:
                for task in together:
                    task.cancel()
        for scenario, why in test.left_out:
            self._tell(f"  [-] Skipping Scenario [{test.name}/{scenario}] ({why})")
        for policy in test.policies:
            await self._space.delete(_POLICIES, policy["metadata"]["name"])
        outcome.seconds = self._clock.monotonic() - begun_s
        if not self._options.verbose:
            self._say("." * (outcome.actions - len(outcome.failures)))
            for line in self._told if outcome.failures else ():
                self._say(line)
        return outcome

    def _skipped(self, test: Test, place: str) -> Outcome:
        self._say(f"[=] [{self._space.namespace}] Skipping test [{test.name}] {place} ({test.skipped})")
        return Outcome(test.name, skipped=test.skipped)

    def _tell(self, line: str) -> None:
        """Tell a line of a test: at once when asked to, else with the test's end if it fails."""
        if self._options.verbose:
            self._say(line)
        else:
            self._told.append(line)

    async def _check(self, outcome: Outcome, test: Test, check: Check, number: int, pods: dict[str, Object]) -> None:
        options, namespace = self._options, self._space.namespace
        client = pods[check.client]
        found, shown = self._found(check, pods)
        target = checkobjects.target_of(check, found)
        command = checkobjects.command_of(options, check, target)
        name = (
            f"{test.name}/{check.scenario}:{'ping' if check.by.pings else 'curl'}-ipv4-{number}: "
            f"{_shown(namespace, client)} -> {shown or target}"
        )
        self._tell(f"  [.] Action [{name}]")
        done = await self._space.run(client, CONTAINER, command, options.request_timeout_s * 4 + _GRACE_S)
        outcome.actions += 1
        reason = _verdict(check, done, command, client)
        if reason:
            self._tell(f"  ❌ {reason}")
            outcome.failures.append((name, reason))

    def _found(self, check: Check, pods: dict[str, Object]) -> tuple[Found, str]:
        """Return the addresses of a check, and what its line calls the target where that is not what is asked."""
        if check.by is By.URL:
            return Found(), ""
        if check.by is By.PING_HOST:
            return Found(host=self._hosts[check.server]), f"{check.server} ({self._hosts[check.server]})"
        server = pods[check.server]
        host = self._hosts[check.node] if check.node else server["status"]["hostIP"]
        found = Found(server["status"]["podIP"], host, self._node_ports.get(check.server, 0))
        shown = _shown(self._space.namespace, server)
        if check.by is By.POD:
            shown = f"{shown[:-1]}:{connectivity.PORT})"
        return found, shown if check.by in {By.POD, By.PING, By.PING_WHOLE} else ""


def _verdict(check: Check, done: Done, command: list[str], client: Object) -> str:
    """Return why a check failed, "" when it did not."""
    if check.allowed and done.code:
        name = client["metadata"]["name"]
        return (
            f'command "{" ".join(command)}" failed: command failed (pod={name}, container={CONTAINER}): '
            f"command terminated with exit code {done.code}: {done.stderr.decode(errors='replace').strip()}"
        )
    if not check.allowed and not done.code:
        return f'command "{" ".join(command)}" succeeded while it should have failed: nothing enforces the policy'
    denials = {_UNANSWERED} if check.by.pings else _DENIALS - ({_UNRESOLVED} if check.resolved else set())
    if not check.allowed and done.code not in denials:
        return f"denied, but not by the network: exit code {done.code}: {done.stderr.decode(errors='replace').strip()}"
    return ""


def _shown(namespace: str, pod: Object) -> str:
    return f"{namespace}/{pod['metadata']['name']} ({pod['status']['podIP']})"
