"""The study's scenarios from end to end: load, the two walls, why, and the way past them, in one report.

The clusters are embedded ones like the study's: one node, Kubernetes 1.33, with its add-ons (kube-ops-view,
metrics-server, kube-prometheus-stack). Each expectation is checked; a scenario that goes otherwise fails the study.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kubedyno.advisor.why import Finding
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import EXIT_INTERRUPTED, KubedynoError
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.documents.run import Chapter, RunDocument
from kubedyno.lab import control, embedded, session
from kubedyno.lab.embedded import Running
from kubedyno.lab.liveview import LiveView
from kubedyno.lab.ownmetrics import OwnMetrics
from kubedyno.lab.settings import cluster_settings
from kubedyno.lab.target import Choice

NAME = "kubedyno-study"
ADDONS_TIMEOUT_S = 60.0
# Nine of kind and seven of the add-ons.
SYSTEM_PODS = 16
# Long enough for the lag between a pod's turn and its event, short enough for a story that is told in 90 s.
STUCK_S = 4.0


@dataclass(slots=True)
class Story:
    """What was told so far; `short` becomes the first chapter."""

    directory: Path
    short: list[str] = field(default_factory=list)
    chapters: list[Chapter] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    own: OwnMetrics | None = None
    live: LiveView | None = None

    def tell(
        self, title: str, text: Sequence[str], run: RunDocument | None = None, findings: Sequence[Finding] = ()
    ) -> None:
        """Add a chapter and print its head and text; findings of the run are printed, the page has them with it."""
        self.chapters.append(Chapter(title, list(text)) if run is None else session.chapter_of(title, text, run))
        print(f"\n== {title}")  # noqa: T201 - the story is the output
        for line in [*text, *(line for finding in findings for line in finding.lines())]:
            print(f"   {line}")  # noqa: T201
        if run is not None:
            for line in session.summary_lines(run):
                print(f"   {line}".rstrip())  # noqa: T201

    def expect(self, what: str, *, found: object, wanted: object) -> None:
        """Note a failure unless what was found is what was wanted."""
        if found != wanted:
            self.failures.append(f"{what}: {found}, expected {wanted}")


def files() -> Path:
    """Return the folder of the study's configurations: beside the package when installed, in a checkout else."""
    here = Path(__file__).resolve()
    installed = here.parent / "study"
    return installed if installed.is_dir() else here.parents[3] / "examples" / "study"


def study(
    directory: Path,
    *,
    speed: float = 1.0,
    keep: bool = False,
    own: OwnMetrics | None = None,
    live: LiveView | None = None,
    stay: bool = False,
) -> int:
    """Run all scenarios; returns 0 when each went as it should.

    Args:
        directory: Of reports and logs.
        speed: Of the modelled nodes.
        keep: Leave the last cluster up.
        own: Is told of each run.
        live: Shows each run.
        stay: Keep that until Ctrl-C, and the last cluster with it.

    Raises:
        KubedynoError: A cluster does not start, or a file cannot be written.
    """
    if not (files() / "s1-config.yaml").is_file():
        raise KubedynoError(f"{files()}: the study's configurations are not there; run from a whole checkout")
    directory.mkdir(parents=True, exist_ok=True)
    start_s = SYSTEM_CLOCK.monotonic()
    story = Story(directory, own=own, live=live)
    names = (NAME, f"{NAME}-22")
    for name in names:
        embedded.down(name)
    try:
        code = _whole(story, speed, start_s)
        if live is not None and stay:
            live.stay()
    finally:
        for name in names if not keep else names[:1]:
            embedded.down(name)
    return code


def _whole(story: Story, speed: float, start_s: float) -> int:
    """Tell the story and write its report, however it ends."""
    uuid = ""
    try:
        uuid = _tell(story, speed)
    finally:
        report = session.write_report(
            story.directory,
            uuid or "study",
            "kubedyno study: how much one node takes, and what stops it",
            [
                Chapter("In short", story.short + [f"not as expected: {line}" for line in story.failures]),
                *story.chapters,
            ],
        )
    took_s = SYSTEM_CLOCK.monotonic() - start_s
    print(f"\nreport: {report}")  # noqa: T201
    print(f"the study took {took_s:.0f} s")  # noqa: T201
    for failure in story.failures:
        print(f"not as expected: {failure}")  # noqa: T201
    return 1 if story.failures else 0


def _up(name: str, speed: float, *, max_pods: int | None = None, node_cidr_mask: int | None = None) -> Running:
    settings, _ = cluster_settings(
        name=name, addons="study", version="1.33", speed=speed, max_pods=max_pods, node_cidr_mask=node_cidr_mask
    )
    return embedded.up(settings)


async def _addons_ready(running: Running) -> None:
    """Wait until every pod of the fresh cluster runs: a wall must not be met by a pod that is still on its way."""
    async with Client(kubeconfig.load(running.kubeconfig, None)) as client, aio.timeout(ADDONS_TIMEOUT_S):
        while True:
            pods = await client.list_all("/api/v1/pods")
            if len(pods) >= SYSTEM_PODS and all(_runs(pod) for pod in pods):
                return
            await aio.sleep(0.1)


def _runs(pod: dict[str, object]) -> bool:
    """Say whether a pod has its place and its address; readiness probes may still be under way."""
    status = pod.get("status")
    return isinstance(status, dict) and status.get("phase") == "Running"


def _run(story: Story, running: Running, config: str, **changes: object) -> RunDocument:
    request = session.Request(
        config=str(files() / config),
        directory=story.directory,
        quiet=True,
        fail_when_stuck_s=STUCK_S,
        own=story.own,
        live=story.live,
        kind="study",
    )
    request = replace(request, **changes)  # type: ignore[arg-type]
    choice = Choice(kubeconfig.load(running.kubeconfig, None), running)
    if story.live is not None:
        story.live.look(running.kubeconfig)
    document = aio.run(session.run(request, choice, yes=True))
    if document.interrupted:
        raise KubedynoError(f"study: interrupted in the run of {config}", EXIT_INTERRUPTED)
    return document


def _delete(story: Story, running: Running) -> None:
    document = _run(story, running, "s1-config-delete.yaml", fail_when_stuck_s=None)
    deleted = sum(job.accepted for job in document.jobs)
    story.tell("Delete job", [f"{deleted} Deployments and Namespaces deleted, by label."], document)
    story.expect("exit code of the delete job", found=document.exit_code, wanted=0)


def _tell(story: Story, speed: float) -> str:
    print("starting two clusters like the study's: one node, Kubernetes 1.33, its add-ons; the second with /22")  # noqa: T201
    running = _up(NAME, speed)
    if story.live is not None:
        story.live.look(running.kubeconfig)
    # The last scenario's cluster too: its add-ons pull their images while the others are told.
    larger = _up(f"{NAME}-22", speed, max_pods=400, node_cidr_mask=22)
    aio.run(_addons_ready(running))
    node = f"{NAME}-control-plane"

    one = _run(story, running, "s1-config.yaml")
    story.tell(
        "Scenario 1: one Deployment",
        ["jobIterations 1, qps 1, burst 1: the smallest load there is."],
        one,
    )
    story.expect("pods of scenario 1", found=one.jobs[0].pods_ready, wanted=1)
    ten = _run(story, running, "s1-10x2-config.yaml")
    story.tell(
        "Scenario 1: ten iterations of two Deployments",
        ["jobIterations 10, replicas 2, qps 10, burst 10: ten at once, then ten a second."],
        ten,
    )
    story.expect("pods of scenario 1, ten times two", found=ten.jobs[0].pods_ready, wanted=20)
    _delete(story, running)

    _scenario_2(story, running, node)
    _delete(story, running)
    last = _scenario_3(story, running, larger, node)
    return last.uuid


def _scenario_2(story: Story, running: Running, node: str) -> None:
    walls: list[Finding] = []

    async def raise_max_pods(findings: Sequence[Finding]) -> None:
        if walls:
            return
        walls.extend(findings)
        await _set_max_pods(running, node, 150)

    document = _run(story, running, "s2-config.yaml", fail_when_stuck_s=30.0, on_stuck=raise_max_pods)
    waiting = sum(len(finding.pods) for finding in walls if finding.cause == "max-pods")
    story.tell(
        "Scenario 2: 100 pods on one node",
        [
            f"The node's kubelet allows 110 pods and 16 run already: {waiting} of 100 stayed Pending.",
            f"Then, while the run waited: kubedyno cluster kubelet {node} --name {running.name} --set maxPods=150 --restart.",
            "The same run went on and completed.",
        ],
        document,
        walls,
    )
    story.short.append(
        f"First wall: maxPods. At 110, {waiting} of 100 pods stayed Pending beside 16 of the system; at 150, "
        f"{document.jobs[0].pods_ready} of 100 were Ready."
    )
    story.expect("pods Pending at maxPods 110", found=waiting, wanted=6)
    story.expect("pods Ready at maxPods 150", found=document.jobs[0].pods_ready, wanted=100)
    story.expect("exit code of scenario 2", found=document.exit_code, wanted=0)


def _scenario_3(story: Story, running: Running, larger: Running, node: str) -> RunDocument:
    aio.run(_set_max_pods(running, node, 400))
    document = _run(story, running, "s3-config.yaml")
    walls = [finding for finding in document.findings if finding.cause == "pod-cidr" and finding.at_end]
    without = sum(len(finding.pods) for finding in walls)
    story.tell(
        "Scenario 3: 300 pods on one node, maxPods 400",
        [
            f"maxPods is no wall any more, the PodCIDR is: {without} of 300 pods got no sandbox.",
            "A /24 has 253 addresses for pods (the network, the gateway and the broadcast address are not handed out).",
            "A node's PodCIDR is immutable, so this needs a new cluster.",
        ],
        document,
    )
    story.short.append(
        f"Second wall: the node's PodCIDR. With maxPods 400 a /24 left {without} of 300 pods without an address."
    )
    story.expect("pods without a sandbox at /24", found=without, wanted=56)
    story.expect("exit code at the /24 wall", found=document.exit_code, wanted=1)
    embedded.down(running.name)

    aio.run(_addons_ready(larger))
    last = _run(story, larger, "s3-config.yaml")
    story.tell(
        "Scenario 3 again: a cluster with /22",
        [f"kubedyno cluster up --name {larger.name} --node-cidr-mask 22 --max-pods 400: 1021 addresses for pods."],
        last,
    )
    story.short.append(
        f"Past both: a cluster with /22 and maxPods 400 had {last.jobs[0].pods_ready} of 300 pods Ready."
    )
    story.expect("pods Ready with /22", found=last.jobs[0].pods_ready, wanted=300)
    story.expect("exit code with /22", found=last.exit_code, wanted=0)
    return last


async def _set_max_pods(running: Running, node: str, value: int) -> None:
    path = f"/kubedyno/nodes/{node}/kubelet"
    text = (await control.call_async(running, "GET", f"{path}/config")).decode()
    changed = control.set_key(text, f"maxPods={value}").encode()
    await control.call_async(running, "PUT", f"{path}/config", changed, "application/yaml")
    await control.call_async(running, "POST", f"{path}/restart")
