"""Series for comparing our engine with a real Prometheus: counters that restart, gaps, histograms, NaN, infinities."""

import math
from random import Random

from kubedyno.promql.rows import INF, NAN

START_S = 1_700_000_000
SPAN_S = 2_400
NODES = ("node-a", "node-b", "node-c")
BOUNDS = ("0.005", "0.1", "0.5", "1", "5", "+Inf")


def series() -> list[tuple[str, dict[str, str], list[tuple[int, float]]]]:
    """Return (name, labels, [(ms, value)]) in a form that is the same each time."""
    random = Random(20230101)
    found: list[tuple[str, dict[str, str], list[tuple[int, float]]]] = []

    def times(*, missing: float = 0.0, gap: tuple[int, int] | None = None, step_s: int = 15) -> list[int]:
        first = START_S * 1000 + random.randrange(step_s * 1000)
        steps = range(first, (START_S + SPAN_S) * 1000, step_s * 1000)
        kept = [at for at in steps if random.random() >= missing]
        if gap:
            kept = [at for at in kept if not START_S + gap[0] <= at / 1000 < START_S + gap[1]]
        return kept

    for verb in ("GET", "LIST", "POST", "PATCH"):
        for resource in ("pods", "nodes", "configmaps"):
            for code in ("200", "404", "500"):
                value, points = 0.0, []
                for at in times(missing=0.05, gap=(600, 1000) if code == "404" else None):
                    value += random.randrange(40) if random.random() < 0.8 else 0
                    if random.random() < 0.02:
                        value = float(random.randrange(5))
                    points.append((at, value))
                labels = {"verb": verb, "resource": resource, "code": code, "instance": "10.0.0.1:6443"}
                found.append(("requests_total", labels, points))
            counts = [0.0] * len(BOUNDS)
            stamps = times()
            columns: list[list[tuple[int, float]]] = [[] for _ in BOUNDS]
            for at in stamps:
                for _ in range(random.randrange(8)):
                    lowest = random.randrange(len(BOUNDS))
                    for i in range(lowest, len(BOUNDS)):
                        counts[i] += 1
                for i, count in enumerate(counts):
                    columns[i].append((at, count))
            for bound, column in zip(BOUNDS, columns, strict=True):
                found.append(("latency_seconds_bucket", {"verb": verb, "resource": resource, "le": bound}, column))
            found.append(("latency_seconds_count", {"verb": verb, "resource": resource}, list(columns[-1])))
    for node in NODES:
        found.append(
            (
                "node_info",
                {"node": node, "zone": f"z{NODES.index(node) % 2}", "kernel": "6.1"},
                [(at, 1.0) for at in times()],
            )
        )
        for cpu in ("0", "1"):
            for mode in ("idle", "user", "system"):
                value, points = random.random() * 1e6, []
                for at in times(missing=0.02):
                    value += random.random() * 15
                    points.append((at, value))
                found.append(("cpu_seconds_total", {"node": node, "cpu": cpu, "mode": mode}, points))
        for pod in range(4):
            labels = {"node": node, "pod": f"p-{node}-{pod}", "namespace": f"ns{pod % 2}"}
            begin, end = random.randrange(900), random.randrange(1300, SPAN_S)
            life = [at for at in times() if START_S + begin <= at / 1000 <= START_S + end]
            found.append(("memory_bytes", labels, [(at, random.randrange(1 << 20, 1 << 30) * 1.0) for at in life]))
            found.append(
                ("pod_phase", {**labels, "phase": "Running"}, [(at, float(random.random() < 0.7)) for at in life])
            )
            found.append(("temperature", labels, [(at, random.gauss(0, 30)) for at in life]))
    odd = [NAN, INF, -INF, 0.0, -0.0, 1e308, 1e300, 1e-300, 3.5, -2.5]
    found += [("odd", {"i": str(i)}, [(at, random.choice(odd)) for at in times()]) for i in range(4)]
    found.append(("constant", {}, [(at, 42.0) for at in times()]))
    found.append(("rare", {"kind": "one"}, [(START_S * 1000 + 700_000, 7.0)]))
    return found


def openmetrics() -> str:
    """Return all of it as promtool takes it."""
    lines = []
    for name, labels, points in series():
        inner = ",".join(f'{label}="{value}"' for label, value in labels.items())
        for at, value in points:
            text = "NaN" if math.isnan(value) else repr(value).replace("inf", "Inf")
            lines.append(f"{name}{{{inner}}} {text} {at / 1000:.3f}")
    return "\n".join([*lines, "# EOF", ""])
