"""Series for comparing our engine with a real Prometheus.

Counters that restart, gaps with and without a stale marker, series that end or come and go, histograms, NaN, infinities.
"""

from random import Random

from kubedyno.promql.rows import INF, NAN, STALE

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

    def ended(points: list[tuple[int, float]], step_ms: int = 15_000) -> list[tuple[int, float]]:
        """Return samples with a marker where one is missing, and after the last."""
        out: list[tuple[int, float]] = []
        for at, value in points:
            if out and at - out[-1][0] > 3 * step_ms:
                out.append((out[-1][0] + step_ms, STALE))
            out.append((at, value))
        return [*out, (out[-1][0] + step_ms, STALE)]

    for verb in ("GET", "LIST", "POST", "PATCH"):
        for resource in ("pods", "nodes", "configmaps"):
            for code in ("200", "404", "500"):
                value, points = 0.0, []
                for at in times(missing=0.05, gap=(600, 1000) if code == "404" else None):
                    value += random.randrange(40) if random.random() < 0.8 else 0
                    if random.random() < 0.02:
                        value = float(random.randrange(5))
                    points.append((at, value))
                if code == "404" and resource != "nodes":
                    # The target said nothing of it for a while, and then again.
                    points = ended(points)
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
            # A pod's series end with a marker where its kubelet was asked once more, without one where that was gone too.
            last = ended if pod % 2 else list
            found.append(
                ("memory_bytes", labels, last([(at, random.randrange(1 << 20, 1 << 30) * 1.0) for at in life]))
            )
            found.append(
                ("pod_phase", {**labels, "phase": "Running"}, last([(at, float(random.random() < 0.7)) for at in life]))
            )
            found.append(("temperature", labels, last([(at, random.gauss(0, 30)) for at in life])))
    for node in NODES:
        # It comes and goes; a marker may follow a marker, or come first.
        values = [(at, STALE if random.random() < 0.25 else float(random.randrange(9))) for at in times(missing=0.1)]
        found.append(("flapping", {"node": node}, values))
    found.append(("flapping", {"node": "none"}, [(at, STALE) for at in times(step_s=300)]))
    odd = [NAN, INF, -INF, 0.0, -0.0, 1e308, 1e300, 1e-300, 3.5, -2.5, STALE]
    found += [("odd", {"i": str(i)}, [(at, random.choice(odd)) for at in times()]) for i in range(4)]
    found.append(("constant", {}, [(at, 42.0) for at in times()]))
    found.append(("rare", {"kind": "one"}, [(START_S * 1000 + 700_000, 7.0)]))
    # Sums are made in the order of arrival; the last bits depend on it.
    return sorted(found, key=lambda one: sorted({"__name__": one[0], **one[1]}.items()))
