"""Spans of the cluster's parts, sent by OTLP over gRPC to a collector on this machine; the extra `tracing`.

A TracingConfiguration comes in, spans go out. OpenTelemetry's own SDK samples, batches and sends, on a thread of its own, so
that nothing waits for a collector; it is imported with the first part that has such a configuration.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.base.random import Random
from kubedyno.kube import yaml
from kubedyno.kube.yaml import YAMLError

# The IANA port of OTLP over gRPC, what components dial where a configuration names nothing.
DEFAULT_ENDPOINT = "localhost:4317"
MILLION = 1_000_000
_VERSIONS = frozenset(f"apiserver.config.k8s.io/{version}" for version in ("v1alpha1", "v1beta1", "v1"))
_NS = 1e9
# A collector that is not there holds up the end of a cluster for no longer.
_EXPORT_TIMEOUT_S = 2
_BATCH_DELAY_MS = 1000

Attributes = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Tracing:
    """What a component traces.

    Attributes:
        endpoint: HOST:PORT of the collector.
        per_million: Of a million traces that begin here so many are sampled; those that others sampled are in any case.
    """

    endpoint: str = DEFAULT_ENDPOINT
    per_million: int = 0


def tracing_of(config: Any) -> Tracing:
    """Return what `endpoint` and `samplingRatePerMillion` ask for.

    Raises:
        ValueError: Why it is wrong, without a place.
    """
    if not isinstance(config, dict):
        raise ValueError("must be a mapping of endpoint and samplingRatePerMillion")  # noqa: TRY004 - one sort for callers
    endpoint = config.get("endpoint") or DEFAULT_ENDPOINT
    if not isinstance(endpoint, str) or not _is_loopback(endpoint):
        raise ValueError(f"endpoint: {endpoint}: spans go to this machine only; write 127.0.0.1:PORT or localhost:PORT")
    rate = config.get("samplingRatePerMillion") or 0
    if not isinstance(rate, int) or isinstance(rate, bool):
        raise ValueError(f"samplingRatePerMillion: {rate!r} is no whole number")  # noqa: TRY004 - as above
    if rate < 0:
        raise ValueError(f"samplingRatePerMillion: Invalid value: {rate}: sampling rate must be positive")
    if rate > MILLION:
        raise ValueError(
            f"samplingRatePerMillion: Invalid value: {rate}: sampling rate must be less than or equal to one million"
        )
    return Tracing(endpoint, rate)


def read_tracing(path: Path) -> Tracing:
    """Return what a TracingConfiguration in a file asks for.

    Raises:
        KubedynoError: It is none.
    """
    try:
        document = yaml.load(path.read_text(), strict=True)
    except OSError as error:
        raise KubedynoError(f"{path}: {error.strerror}; give the path of a TracingConfiguration") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise KubedynoError(f"{path}: {error}; write a TracingConfiguration") from None
    if not isinstance(document, dict) or document.get("kind") != "TracingConfiguration":
        raise KubedynoError(f"{path}: is no TracingConfiguration; write kind: TracingConfiguration")
    if document.get("apiVersion") not in _VERSIONS:
        raise KubedynoError(f"{path}: apiVersion: {document.get('apiVersion')}: write apiserver.config.k8s.io/v1")
    for name in document:
        if name not in {"apiVersion", "kind", "endpoint", "samplingRatePerMillion"}:
            raise KubedynoError(f"{path}: {name}: unknown field; there are endpoint and samplingRatePerMillion")
    try:
        return tracing_of(document)
    except ValueError as error:
        raise KubedynoError(f"{path}: {error}") from None


def _is_loopback(endpoint: str) -> bool:
    host, colon, port = endpoint.rpartition(":")
    if not colon or not port.isdigit():
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_extra(service: str) -> None:
    """Raise KubedynoError when the extra is not installed."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        raise KubedynoError(f"tracing of {service}: install the extra: pip install 'kubedyno[tracing]'")


class Spans:
    """What one component sends.

    Args:
        tracing: To whom, and how many.
        service: service.name, e.g. "kube-apiserver".
        random: Makes ids.

    Raises:
        KubedynoError: The extra is not installed.
    """

    def __init__(self, tracing: Tracing, service: str, random: Random) -> None:
        require_extra(service)
        from opentelemetry import trace  # noqa: PLC0415 - the extra, here and below
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import IdGenerator  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

        class Ids(IdGenerator):
            def generate_span_id(self) -> int:
                return int(random.hex(16), 16) or 1

            def generate_trace_id(self) -> int:
                return int(random.hex(32), 16) or 1

        self._trace = trace
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(tracing.per_million / MILLION)),
            resource=Resource.create({"service.name": service}),
            id_generator=Ids(),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=tracing.endpoint, insecure=True, timeout=_EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_BATCH_DELAY_MS))
        self._tracer = self._provider.get_tracer("kubedyno")

    def begin(
        self, name: str, at_s: float, attributes: Attributes, *, above: Any = None, server: bool = False,
        remote: str = "", trusted: bool = False,
    ) -> Any:  # fmt: skip
        """Begin a span.

        Args:
            name: Of the span.
            at_s: When, epoch seconds.
            attributes: More about it.
            above: The span that it is part of.
            server: It is a request that is answered.
            remote: W3C traceparent of whoever asks, "" for none.
            trusted: The span is part of that trace; else it begins one of its own and has a link to it.

        Returns:
            The span; see `end`.
        """
        trace = self._trace
        context = trace.set_span_in_context(above) if above is not None else None
        links: Sequence[Any] = ()
        asked = span_context(remote) if remote else None
        if asked is not None:
            if trusted:
                context = trace.set_span_in_context(trace.NonRecordingSpan(asked))
            else:
                links = (trace.Link(asked),)
        kind = trace.SpanKind.SERVER if server else trace.SpanKind.INTERNAL
        return self._tracer.start_span(
            name, context, kind, dict(attributes), links, start_time=int(at_s * _NS)
        )  # fmt: skip

    def end(self, span: Any, at_s: float, failure: str | None = None, **attributes: str | int) -> None:
        """End a span.

        Args:
            span: What `begin` returned.
            at_s: When, epoch seconds.
            failure: Why it failed; None when it did not.
            attributes: What is known only now, with __ for the dots of their names.
        """
        for name, value in attributes.items():
            span.set_attribute(name.replace("__", "."), value)
        if failure is not None:
            span.set_status(self._trace.StatusCode.ERROR, failure or None)
        span.end(int(at_s * _NS))

    def close(self) -> None:
        """Send what is left, for a short while."""
        self._provider.shutdown()


def span_context(traceparent: str) -> Any:
    """Return the remote context of a W3C traceparent, None when it is none (then it is as if it were not there)."""
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415 - the extra

    parts = traceparent.strip().split("-")
    sizes = [len(part) for part in parts[:4]]
    if sizes != [2, 32, 16, 2] or parts[0] == "ff" or (parts[0] == "00" and len(parts) > len(sizes)):
        return None
    if any(digit not in "0123456789abcdef" for part in parts[:4] for digit in part):
        return None
    context = SpanContext(
        int(parts[1], 16), int(parts[2], 16), is_remote=True, trace_flags=TraceFlags(int(parts[3], 16))
    )
    return context if context.is_valid else None
