"""Spans of a cluster's API server and kubelets, as a collector on this machine gets them."""

import asyncio
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.client.kubeconfig import User
from kubedyno.cluster.tracing import Tracing, read_tracing, span_context, tracing_of

pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="needs the extra tracing")
grpc = pytest.importorskip("grpc")

WAIT_S = 20.0
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KIND = """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  extraMounts: [{{hostPath: {tracing}, containerPath: /etc/tracing.yaml}}]
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  apiServer:
    extraArgs: {{tracing-config-file: /etc/tracing.yaml}}
- |
  kind: KubeletConfiguration
  tracing: {{endpoint: "127.0.0.1:{port}", samplingRatePerMillion: 1000000}}
"""
CONFIGURATION = """
apiVersion: apiserver.config.k8s.io/v1
kind: TracingConfiguration
endpoint: 127.0.0.1:{port}
samplingRatePerMillion: {rate}
"""
POD = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "traced"},
    "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
}  # fmt: skip


@dataclass
class Collector:
    """What came, as (service, span)."""

    port: int = 0
    spans: list[tuple[str, Any]] = field(default_factory=list)

    def take(self, data: bytes) -> bytes:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        for part in ExportTraceServiceRequest.FromString(data).resource_spans:
            service = next(a.value.string_value for a in part.resource.attributes if a.key == "service.name")
            self.spans += [(service, span) for scope in part.scope_spans for span in scope.spans]
        return b""

    def find(self, name: str, **attributes: str) -> Any:
        """Return the first span of a name with these attributes, once it has come."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        end_s = SYSTEM_CLOCK.monotonic() + WAIT_S
        while SYSTEM_CLOCK.monotonic() < end_s:
            for _, span in list(self.spans):
                if span.name == name and wanted.items() <= about(span).items():
                    return span
            subprocess.run(["sleep", "0.1"], check=True)
        raise AssertionError(f"no span {name} {wanted} among {sorted({span.name for _, span in self.spans})}")


def about(span: Any) -> dict[str, str]:
    return {a.key: a.value.string_value or str(a.value.int_value) for a in span.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda data, _: found.take(data)) if details.method else None

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handler()])
    found.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield found
    server.stop(0)


def kind_of(folder: Path, collector: Collector, rate: int) -> Path:
    """Return a kind configuration whose API server and kubelet trace."""
    tracing = folder / "tracing.yaml"
    tracing.write_text(CONFIGURATION.format(port=collector.port, rate=rate))
    kind = folder / "kind.yaml"
    kind.write_text(KIND.format(tracing=tracing, port=collector.port))
    return kind


def test_requests_and_starts_of_pods_are_traced(up: Any, tmp_path: Path, collector: Collector) -> None:
    cluster = up(name="traced", config=kind_of(tmp_path, collector, 1_000_000), speed=20.0)
    cluster.post("/api/v1/namespaces/default/pods", POD)
    name = "POST /api/v1/namespaces/{:namespace}/pods"
    span = collector.find(name)
    said = about(span)
    assert said["http.response.status_code"] == "201"
    assert said["http.target"] == "/api/v1/namespaces/default/pods"
    assert len(said["audit-id"]) == 36
    child = collector.find("Create", resource="pods")
    assert (child.trace_id, child.parent_span_id) == (span.trace_id, span.span_id)
    sync = collector.find("syncPod", k8s__pod="default/traced")
    # They may come in batches of their own.
    collector.find("runtime.v1.RuntimeService/StartContainer")
    calls = {s.name: s for _, s in collector.spans if s.parent_span_id == sync.span_id}
    assert sorted(calls, key=lambda name: calls[name].start_time_unix_nano) == [
        "runtime.v1.RuntimeService/RunPodSandbox", "runtime.v1.ImageService/PullImage",
        "runtime.v1.RuntimeService/CreateContainer", "runtime.v1.RuntimeService/StartContainer",
    ]  # fmt: skip
    pull = calls["runtime.v1.ImageService/PullImage"]
    assert sync.start_time_unix_nano <= pull.start_time_unix_nano < pull.end_time_unix_nano
    assert calls["runtime.v1.RuntimeService/StartContainer"].end_time_unix_nano == sync.end_time_unix_nano
    assert {service for service, s in collector.spans if s.name == "syncPod"} == {"kubelet"}


def test_a_trace_goes_on_for_masters_and_is_linked_for_others(up: Any, tmp_path: Path, collector: Collector) -> None:
    cluster = up(name="asked", config=kind_of(tmp_path, collector, 1_000_000))
    header = f"00-{TRACE}-{PARENT}-01"

    def ask(path: str, *more: tuple[str, str]) -> None:
        cluster.ask(lambda client: client.request("GET", path, headers=(("traceparent", header), *more)))

    ask("/api/v1/namespaces/default/secrets/none", ("impersonate-user", "ann"))
    found = collector.find("GET /api/v1/namespaces/{:namespace}/secrets/{:name}")
    assert (found.trace_id.hex(), found.parent_span_id.hex()) == (TRACE, PARENT)
    assert about(found)["http.response.status_code"] == "403"
    token = cluster.post("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})["status"]["token"]

    async def ask_as_account() -> None:
        # The administrator's certificate would count before the token.
        target = replace(kubeconfig.load(cluster.running.kubeconfig, None), user=User(token=token))
        async with Client(target) as client:
            await client.request("GET", "/api/v1/namespaces/default/services", headers=(("traceparent", header),))

    asyncio.run(ask_as_account())
    found = collector.find("GET /api/v1/namespaces/{:namespace}/services")
    assert found.trace_id.hex() != TRACE
    assert not found.parent_span_id
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in found.links] == [(TRACE, PARENT)]


def test_what_is_not_sampled_is_not_sent_unless_the_caller_sampled_it(
    up: Any, tmp_path: Path, collector: Collector
) -> None:
    cluster = up(name="rare", config=kind_of(tmp_path, collector, 0))
    cluster.get("/api/v1/namespaces/default")
    header = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
    cluster.ask(lambda client: client.request("GET", "/version", headers=header))
    collector.find("GET")
    assert {span.name for service, span in collector.spans if service == "kube-apiserver"} == {"GET"}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"endpoint": "192.0.2.1:4317"}, "endpoint: 192.0.2.1:4317: spans go to this machine only"),
        ({"endpoint": "localhost"}, "endpoint: localhost: spans go to this machine only"),
        ({"samplingRatePerMillion": -1}, "must be positive"),
        ({"samplingRatePerMillion": 1_000_001}, "less than or equal to one million"),
        ({"samplingRatePerMillion": "all"}, "'all' is no whole number"),
        ([], "must be a mapping"),
    ],
)
def test_a_configuration_that_is_wrong_says_why(config: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tracing_of(config)


@pytest.mark.parametrize("endpoint", ["localhost:1", "127.0.0.9:4317", "[::1]:4317"])
def test_the_endpoint_is_on_this_machine(endpoint: str) -> None:
    assert tracing_of({"endpoint": endpoint}) == Tracing(endpoint, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: Policy", "is no TracingConfiguration"),
        ("kind: TracingConfiguration\napiVersion: v1", "apiVersion: v1: write apiserver.config.k8s.io/v1"),
        ("kind: TracingConfiguration\napiVersion: apiserver.config.k8s.io/v1\nrate: 1", "rate: unknown field"),
    ],
)
def test_a_file_that_is_none_says_so(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(KubedynoError, match=why):
        read_tracing(path)


@pytest.mark.parametrize(
    "header",
    ["", "00", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01",
     f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more"],
)  # fmt: skip
def test_a_header_that_is_no_context_is_as_if_it_were_not_there(header: str) -> None:
    assert span_context(header) is None


def test_a_context_is_read() -> None:
    found = span_context(f"00-{TRACE}-{PARENT}-01")
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags) == (TRACE, PARENT, 1)
