"""Whether a cluster is fit for a run: its API says so, and every node is Ready without pressure."""

from kubedyno.client.api import Client


async def problems(client: Client) -> list[str]:
    """Return what is wrong with a cluster, nothing for a healthy one.

    Raises:
        StatusError: The API refuses to list nodes.
        KubedynoError: It cannot be reached.
    """
    found = []
    answer = await client.request("GET", "/healthz")
    if answer.status != 200 or answer.body.strip() != b"ok":
        found.append(f"/healthz answers {answer.status}: {answer.body[:80].decode(errors='replace')}")
    for node in await client.list_all("/api/v1/nodes"):
        name = node["metadata"]["name"]
        ready = False
        for condition in (node.get("status") or {}).get("conditions") or ():
            wanted = "True" if condition["type"] == "Ready" else "False"
            ready = ready or condition["type"] == "Ready"
            if condition["status"] != wanted:
                found.append(
                    f"Node {name}: {condition['type']} is {condition['status']} ({condition.get('reason') or 'no reason'})"
                )
        if not ready:
            found.append(f"Node {name}: has no Ready condition")
    return found
