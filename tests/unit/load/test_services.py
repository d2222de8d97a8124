"""Service latency: what is waited for, what is tried from the checker, and what has no document."""

import asyncio

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.simulation import simulate
from kubedyno.load.config.spec import MeasurementSpec
from kubedyno.load.measurements.measurement import Common
from kubedyno.load.measurements.services import ServiceLatency


class Checker:
    """Lets a connection through after a while, or never."""

    host_ip = "172.18.0.2"

    def __init__(self, after_s=0.02, error=None):
        self.after_s, self.error = after_s, error
        self.tried = []
        self.closed = 0

    async def connect(self, address, port, timeout_s):
        self.tried.append((address, port, timeout_s))
        await aio.sleep(self.after_s)
        if self.error:
            raise KubedynoError(self.error)

    async def close(self):
        self.closed += 1


def service(name="s", ingress=(), **spec):
    labels = {"kube-burner.io/job-iteration": "4"}
    meta = {"name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-09-21T14:13:20Z", "labels": labels}
    status = {"loadBalancer": {"ingress": list(ingress)}}
    return {"kind": "Service", "metadata": meta, "spec": spec, "status": status}


def piece(ready=True, name="s"):
    return {
        "metadata": {"namespace": "n", "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
    }


def measured(script, checker=None):
    """Run a script of events on simulated time; returns documents, the checker, and what was said not to be measured."""

    async def run():
        spec = MeasurementSpec("serviceLatency", service_timeout_s=7.0)
        one = ServiceLatency(spec, None, asyncio.get_running_loop(), "")
        one.checker = checker or Checker()
        one._open = True
        await script(one)
        await one.stop()
        return list(one.documents(Common("job", "u", {}, lambda _at_s: False))), one.checker, one.followed.trouble

    return simulate(run())


def seen(one, body, kind="ADDED"):
    one.event(kind, orjson.dumps(body))


PORTS = [{"protocol": "TCP", "port": 80, "nodePort": 30080}, {"protocol": "UDP", "port": 53}, {"port": 443}]


def test_figures_are_nanoseconds_from_ready_endpoints_to_a_connection_to_every_tcp_port():
    async def script(one):
        seen(one, service(type="ClusterIP", clusterIPs=["10.96.0.1"], ports=PORTS))
        await aio.sleep(0.05)
        one._slice("ADDED", orjson.dumps(piece(ready=False)))
        await aio.sleep(0.05)
        assert one.checker.tried == []
        one._slice("MODIFIED", orjson.dumps(piece()))
        await aio.sleep(0.15)

    (document,), checker, trouble = measured(script)
    assert checker.tried == [("10.96.0.1", 80, 7.0), ("10.96.0.1", 443, 7.0)]
    assert document.pop("ready") == pytest.approx(40_000_000, abs=1000)
    assert document == {
        "timestamp": "2026-09-21T14:13:20Z", "metricName": "svcLatencyMeasurement", "uuid": "u", "jobName": "job",
        "namespace": "n", "service": "s", "type": "ClusterIP",
    }  # fmt: skip
    assert (checker.closed, trouble) == (1, [])


def test_a_balanced_service_waits_for_its_address_and_is_tried_there():
    async def script(one):
        one._slice("ADDED", orjson.dumps(piece()))
        body = service(type="LoadBalancer", clusterIPs=["10.96.0.1"], ports=PORTS[:1])
        seen(one, body)
        await aio.sleep(0.05)
        assert one.checker.tried == []
        seen(one, service(ingress=[{"ip": "1.2.3.4", "hostname": "h"}], **body["spec"]), "MODIFIED")
        await aio.sleep(0.1)

    (document,), checker, _ = measured(script)
    assert checker.tried == [("1.2.3.4", 80, 7.0)]
    assert document["ipAssigned"] == pytest.approx(50_000_000, abs=1000)


def test_a_node_port_is_tried_on_the_checkers_node():
    async def script(one):
        one._slice("ADDED", orjson.dumps(piece()))
        seen(one, service(type="NodePort", clusterIPs=["10.96.0.1"], ports=PORTS[:1]))
        await aio.sleep(0.1)

    _, checker, _ = measured(script)
    assert checker.tried == [("172.18.0.2", 30080, 7.0)]


@pytest.mark.parametrize("spec", [{"type": "ExternalName"}, {"type": "ClusterIP", "skip": True}])
def test_what_has_no_address_or_is_left_out_is_not_tried(spec):
    async def script(one):
        one._slice("ADDED", orjson.dumps(piece()))
        body = service(clusterIPs=["10.96.0.1"], ports=PORTS, **spec)
        if spec.get("skip"):
            body["metadata"]["annotations"] = {"kube-burner.io/service-latency": "false"}
        seen(one, body)
        await aio.sleep(0.05)

    documents, checker, trouble = measured(script)
    assert (documents, checker.tried, trouble) == ([], [], [])


def test_a_connection_that_never_comes_has_no_document_and_is_told(monkeypatch):
    async def script(one):
        one._slice("ADDED", orjson.dumps(piece()))
        seen(one, service(clusterIPs=["10.96.0.1"], ports=PORTS[:1]))
        await aio.sleep(0.1)

    line = "timeout waiting for endpoint 10.96.0.1:80 to be ready"
    documents, _, trouble = measured(script, Checker(error=line))
    assert (documents, trouble) == ([], [f"serviceLatency: n/s: {line}"])


def test_a_service_without_endpoints_at_the_end_of_the_job_is_told(monkeypatch):
    monkeypatch.setattr("kubedyno.load.measurements.services._LAST_S", 0.05)

    async def script(one):
        seen(one, service(clusterIPs=["10.96.0.1"], ports=PORTS))
        await aio.sleep(0)

    documents, checker, trouble = measured(script)
    assert (documents, trouble) == ([], ["serviceLatency: n/s: not ready when the job ended"])
    assert checker.closed == 1
