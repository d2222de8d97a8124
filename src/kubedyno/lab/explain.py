"""`explain` on a chosen cluster: facts read, findings as text or JSON."""

from dataclasses import asdict

from kubedyno.advisor import facts, metricbinds, walls, why
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.kube import forms
from kubedyno.kube.status import StatusError
from kubedyno.lab import target
from kubedyno.lab.target import Choice
from kubedyno.report.text import table


async def explain(choice: Choice, namespace: str | None, output: str) -> str:
    """Return what keeps pods from running on a cluster.

    Raises:
        KubedynoError: It cannot be reached, or does not even let its pods be listed.
    """
    async with Client(choice.target) as client:
        await target.greet(client)
        try:
            seen = await facts.read(client, embedded=choice.running.name if choice.running else None)
        except StatusError as error:
            raise target.refused(client, error) from error
        unread = next((line for line in seen.missing if line.startswith("pods: ")), None)
        if unread is not None:
            raise KubedynoError(f"{client.server}: {unread}; without them nothing can be explained")
        binds = await _binds(client, seen) if namespace is None else []
    findings = why.explain(seen, namespace)
    fills = walls.node_fills(seen)
    if output != "text":
        document = {
            "findings": [asdict(finding) for finding in findings],
            "nodes": [asdict(fill) for fill in fills],
            "missing": seen.missing,
            "metricTargetsDown": [asdict(bound) for bound in binds],
        }
        return forms.text_of(document, output)
    lines: list[str] = []
    for finding in findings:
        lines += [*finding.lines(), ""]
    if not findings:
        lines += ["all pods run" + (f" in namespace {namespace}" if namespace else ""), ""]
    if binds:
        lines += [*metricbinds.lines(binds), ""]
    lines += [f"not read: {line}" for line in seen.missing]
    shown = [fill for fill in fills if fill.pods][:20] or fills[:20]
    if shown:
        lines += table(
            ("NODE", "READY", "PODS", "MAXPODS", "PODCIDR", "ADDRESSES", "USED", "NEXT WALL"),
            [
                (
                    fill.name,
                    "yes" if fill.ready else "no",
                    str(fill.pods),
                    str(fill.max_pods),
                    fill.cidr or "none",
                    "-" if fill.addresses is None else str(fill.addresses),
                    str(fill.addressed),
                    f"{'maxPods' if fill.limit == fill.max_pods else 'PodCIDR'} at {fill.limit} pods",
                )
                for fill in shown
            ],
        )
        if len(fills) > len(shown):
            lines.append(f"({len(fills) - len(shown)} more nodes)")
    return "\n".join(lines).rstrip() + "\n"


async def _binds(client: Client, seen: facts.ClusterFacts) -> list[metricbinds.Bound]:
    """Return the components whose metrics a Prometheus in the cluster asks in vain; none where there is no Prometheus."""
    if not metricbinds.has_prometheus(seen.pods):
        return []
    try:
        proxy = metricbinds.proxy_bind_of(await client.get("/api/v1/namespaces/kube-system/configmaps/kube-proxy"))
    except StatusError:
        # There is none, or it may not be read: nothing is said of it.
        proxy = None
    return metricbinds.bound_to_loopback(seen.pods, proxy)
