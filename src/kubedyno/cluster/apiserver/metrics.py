"""/metrics: what the server has done, in Prometheus' text form."""

from collections.abc import Mapping

from kubedyno.cluster.apiserver.routes import Route
from kubedyno.cluster.registry.kind import Kind

_Key = tuple[str, int, str, int]


class RequestCounts:
    """Answers by verb, resource, subresource and status."""

    def __init__(self) -> None:
        self._counts: dict[_Key, int] = {}
        self._kinds: dict[int, Kind] = {}

    def add(self, verb: str, route: Route[Kind], status: int) -> None:
        """Count one answer."""
        key = (verb, id(route.kind), route.subresource, status)
        try:
            self._counts[key] += 1
        except KeyError:
            self._kinds[id(route.kind)] = route.kind
            self._counts[key] = 1

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> bytes:
        """Return the exposition.

        Args:
            gauges: Name → (help, value).
        """
        lines = [
            "# HELP apiserver_request_total Answers by verb, group, version, resource, subresource and code.",
            "# TYPE apiserver_request_total counter",
        ]
        for (verb, kind, subresource, status), count in sorted(self._counts.items(), key=lambda item: str(item[0])):
            resource = self._kinds[kind].resource
            lines.append(
                f'apiserver_request_total{{code="{status}",group="{resource.group}",resource="{resource.plural}",'
                f'subresource="{subresource}",verb="{_VERBS.get(verb, verb.upper())}",version="{resource.version}"}} '
                f"{count}"
            )
        for name, (about, value) in gauges.items():
            lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge", f"{name} {value:g}"]
        return ("\n".join(lines) + "\n").encode()


_VERBS = {"create": "POST", "update": "PUT"}
