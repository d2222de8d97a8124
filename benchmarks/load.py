"""The load side: CPU per created Deployment with everything on, rate error against a sink, memory."""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import cluster, cpu_s, peak_mb, rss_mb
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.lab import session
from kubedyno.lab.target import Choice
from kubedyno.load.engine.bucket import TokenBucket
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import Sender

CONFIG = """
global:
  measurements: []
jobs:
  - name: bench
    jobType: create
    jobIterations: {iterations}
    qps: 20000
    burst: 20000
    namespace: bench
    iterationsPerNamespace: 100
    namespaceLabels: {{bench: "yes"}}
    preLoadImages: false
    waitWhenFinished: false
    verifyObjects: true
    objects:
      - objectTemplate: deployment.yaml
        replicas: 1
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: deployment-{{.Iteration}}-{{.Replica}}
  labels:
    app: test-{{.Iteration}}-{{.Replica}}
    group: load
spec:
  replicas: 0
  selector:
    matchLabels:
      app: test-{{.Iteration}}-{{.Replica}}
  template:
    metadata:
      labels:
        app: test-{{.Iteration}}-{{.Replica}}
    spec:
      containers:
        - name: nginx
          image: nginx:alpine
          env:
            - name: ENVVAR1_{{.Iteration}}
              value: abcdefghij
          ports:
            - containerPort: 80
          resources: {requests: {cpu: 10m, memory: 10Mi}}
"""
RATES = ((1, 5), (10, 30), (100, 300), (1000, 3000), (5000, 15000), (10000, 30000))
_RUN = """
import sys
from pathlib import Path
from benchmarks.load import create
create(Path(sys.argv[1]), int(sys.argv[2]))
"""


def create(folder: Path, count: int) -> None:
    """Create that many Deployments and print CPU µs an object, peak MB and wall s (in a process of its own)."""
    (folder / "config.yaml").write_text(CONFIG.format(iterations=count))
    (folder / "deployment.yaml").write_text(DEPLOYMENT)
    target = kubeconfig.load(folder / "kubeconfig", None)
    request = session.Request(config=str(folder / "config.yaml"), directory=folder, quiet=True, timeout_s=600)
    before_s, wall_s = cpu_s(), SYSTEM_CLOCK.monotonic()
    document = aio.run(session.run(request, Choice(target), yes=True))
    used_s, wall_s = cpu_s() - before_s, SYSTEM_CLOCK.monotonic() - wall_s
    job = document.jobs[0]
    if job.accepted != count or document.exit_code:
        raise SystemExit(f"{job.accepted} of {count} accepted: {document.errors}")
    print(used_s / count * 1e6, peak_mb(), wall_s, rss_mb())


def figures(*, quick: bool) -> dict[str, float]:
    """Return the load budget's figures."""
    result: dict[str, float] = {}
    with cluster() as running, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kubeconfig").write_bytes(running.kubeconfig.read_bytes())
        for count in (20_000,) if quick else (20_000, 100_000):
            out = subprocess.run(
                [sys.executable, "-c", _RUN, str(folder), str(count)], check=True, capture_output=True, text=True
            ).stdout.split()
            if count == 20_000:
                result["cpu_us_per_object"] = float(out[-4])
                result["created_per_s"] = count / float(out[-2])
            result["rss_mb"] = float(out[-3])
    result["rate_error_percent"] = max(
        aio.run(_rate_error(qps, count)) for qps, count in (RATES[2:5] if quick else RATES)
    )
    return result


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


async def _rate_error(qps: int, count: int) -> float:
    """Return by how many percent the reached rate differs from the asked one, against a server that only answers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.sink", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port, authority = (await process.stdout.readline()).decode().split()
        target = kubeconfig.Target(server=f"https://127.0.0.1:{port}", ca=_read(authority))
        record = JobRecord("rate", "create", qps, qps)
        async with Client(target) as client:
            sender = Sender(
                client,
                TokenBucket(qps, 1),
                record,
                SYSTEM_CLOCK,
                retry_budget_s=1,
                final=lambda _status: True,
                on_error=lambda _line: None,
            )
            record.started_s = SYSTEM_CLOCK.monotonic()
            for number in range(count):
                await sender.send("POST", "/sink", b'{"n":%d}' % number, "n")
            await sender.finish()
        if record.accepted != count:
            raise SystemExit(f"the sink accepted {record.accepted} of {count}")
        return abs(record.reached_qps / qps - 1) * 100
    finally:
        process.terminate()
        await process.wait()
