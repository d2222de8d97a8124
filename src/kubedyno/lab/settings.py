"""Flags and a kind configuration to `ClusterSettings`."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import duration_ns_of
from kubedyno.cluster.apiserver.auditpolicy import read_policy
from kubedyno.cluster.assembly import kindconfig, schedulerconfig
from kubedyno.cluster.assembly.kindconfig import DEFAULT_NAME
from kubedyno.cluster.assembly.strict import near
from kubedyno.cluster.registry import runtimeconfig
from kubedyno.cluster.registry.featuregates import ACTING
from kubedyno.cluster.registry.nodeclasses import CLASS, KEYS, classed
from kubedyno.cluster.registry.runtimeconfig import RuntimeConfig
from kubedyno.cluster.settings import MAX_NODES, SUPPORTED_VERSIONS, ClusterSettings, NodeSettings, node_names
from kubedyno.cluster.tracing import read_tracing, require_extra
from kubedyno.kube import yaml
from kubedyno.kube.names import problems_of_dns1123_subdomain, problems_of_label_value, problems_of_qualified_name
from kubedyno.lab import monitorvalues

# Each node of real pods has routes to all others.
MAX_REAL_NODES = 64
ADDON_SETS = ("study",)


def cluster_settings(
    *,
    name: str | None = None,
    config: Path | None = None,
    nodes: int | None = None,
    max_pods: int | None = None,
    node_cidr_mask: int | None = None,
    speed: float | None = None,
    cni: str | None = None,
    addons: str | None = None,
    version: str | None = None,
    seed: int | None = None,
    port: int | None = None,
    idle_timeout: str | None = None,
    authorization: str | None = None,
    runtime: str | None = None,
    datapath: str | None = None,
    images: Path | None = None,
    node_classes: Sequence[str] = (),
    private_registries: Sequence[str] = (),
    data_dir: Path | None = None,
    max_inflight: int | None = None,
    max_mutating_inflight: int | None = None,
    feature_gates: str | None = None,
    runtime_config: str | None = None,
    scheduler_config: Path | None = None,
    priority_and_fairness: bool = True,
    audit_log: Path | None = None,
    audit_policy: Path | None = None,
    audit_maxsize_mb: int | None = None,
    audit_maxage_days: int | None = None,
    audit_maxbackup: int | None = None,
    tracing: Path | None = None,
    addon_values: Path | None = None,
    metrics_port: int | None = None,
) -> tuple[ClusterSettings, list[str]]:
    """Return the settings and warnings about parts of the kind configuration that mean nothing here.

    Flags win over the configuration; None leaves a setting as it is (a cluster without any name is "kubedyno").

    Raises:
        KubedynoError: A value is out of range, or the configuration is wrong.
    """
    problems = problems_of_dns1123_subdomain(name) if name is not None else []
    if problems:
        raise KubedynoError(f"--name {name}: {problems[0]}")
    warnings: list[str] = []
    if config is None:
        name = name or DEFAULT_NAME
        settings = ClusterSettings(name=name, nodes=_nodes(name, nodes or 1))
    else:
        try:
            text = config.read_text()
        except OSError as error:
            raise KubedynoError(f"{config}: cannot be read ({error.strerror})") from error
        settings, warnings = kindconfig.parse(text, str(config), name=name)
        if nodes is not None:
            raise KubedynoError(f"--nodes: {config} lists the nodes already; change it there")
    if nodes is not None and not 1 <= nodes <= MAX_NODES:
        raise KubedynoError(f"--nodes {nodes}: must be between 1 and {MAX_NODES}")
    for text in node_classes:
        settings = replace(settings, nodes=(*settings.nodes, *_class(text, settings)))
    if len(settings.nodes) > MAX_NODES:
        raise KubedynoError(f"--node-class: {len(settings.nodes)} nodes in all; must be at most {MAX_NODES}")
    if version is not None:
        version = version.removeprefix("v")
        if ".".join(version.split(".")[:2]) not in SUPPORTED_VERSIONS:
            raise KubedynoError(f"--kubernetes-version {version}: must be one of {', '.join(SUPPORTED_VERSIONS)}")
        settings = replace(settings, version=".".join(version.split(".")[:2]))
    if max_pods is not None:
        if max_pods < 1:
            raise KubedynoError(f"--max-pods {max_pods}: must be at least 1")
        settings = replace(settings, nodes=tuple(replace(node, max_pods=max_pods) for node in settings.nodes))
    if node_cidr_mask is not None:
        if not 16 <= node_cidr_mask <= 30:
            raise KubedynoError(f"--node-cidr-mask {node_cidr_mask}: must be between 16 and 30")
        settings = replace(settings, node_cidr_mask=node_cidr_mask)
    if speed is not None:
        if speed < 0:
            raise KubedynoError(f"--speed {speed:g}: must be 0 (at once) or a positive factor")
        settings = replace(settings, speed=speed)
    if cni is not None:
        settings = replace(settings, cni=cni)
    if addons is not None:
        names = tuple(word.strip() for word in addons.split(",") if word.strip())
        for word in names:
            if word not in ADDON_SETS:
                raise KubedynoError(f"--addons {word}: unknown; known are: {', '.join(ADDON_SETS)}")
        settings = replace(settings, addons=names)
    if addon_values is not None:
        if "study" not in settings.addons:
            raise KubedynoError("--addon-values: are those of the study's monitoring; add --addons study")
        monitoring, more = monitorvalues.read(addon_values)
        warnings = [*warnings, *more]
        settings = replace(settings, monitoring=monitoring)
    if seed is not None:
        settings = replace(settings, seed=seed)
    if port is not None:
        if not 0 <= port <= 65535:
            raise KubedynoError(f"--port {port}: must be between 0 and 65535")
        settings = replace(settings, port=port)
    if metrics_port is not None:
        if not 1 <= metrics_port <= 65535:
            raise KubedynoError(f"--metrics-port {metrics_port}: must be between 1 and 65535")
        settings = replace(settings, metrics_port=metrics_port)
    if authorization is not None:
        settings = replace(settings, authorization=authorization)
    if idle_timeout is not None:
        try:
            seconds = duration_ns_of(idle_timeout) / 1e9
        except ValueError as error:
            raise KubedynoError(f"--idle-timeout {idle_timeout}: {error}; write for example 30m, or 0") from error
        settings = replace(settings, idle_timeout_s=seconds)
    if runtime is not None:
        settings = replace(settings, runtime=runtime)
    if datapath is not None:
        settings = replace(settings, datapath=datapath)
    if images is not None:
        settings = replace(settings, images=_images(images))
    for flag, limit in (
        ("--max-requests-inflight", max_inflight),
        ("--max-mutating-requests-inflight", max_mutating_inflight),
    ):
        if limit is not None and limit < 0:
            raise KubedynoError(f"{flag} {limit}: must be 0 (no limit) or more")
    if max_inflight is not None:
        settings = replace(settings, max_inflight=max_inflight)
    if max_mutating_inflight is not None:
        settings = replace(settings, max_mutating_inflight=max_mutating_inflight)
    if feature_gates is not None:
        settings = replace(settings, feature_gates={**settings.feature_gates, **_gates(feature_gates)})
    if runtime_config is not None:
        said = runtimeconfig.parse(runtime_config)
        settings = replace(settings, runtime_config={**settings.runtime_config, **said})
    unserved = RuntimeConfig(settings.runtime_config).unserved()
    if unserved:
        warnings = [*warnings, f"runtime-config: not served here: {'; '.join(unserved)}"]
    warnings = [
        *warnings,
        *(
            f"feature gate {gate} has no effect here{near(gate, sorted(ACTING))}"
            for gate in settings.feature_gates
            if gate not in ACTING
        ),
    ]
    if scheduler_config is not None:
        scheduler, more = schedulerconfig.read(scheduler_config)
        settings = replace(settings, scheduler=scheduler)
        warnings = [*warnings, *more]
    if private_registries:
        settings = replace(settings, private_registries=tuple(map(_registry, private_registries)))
    settings = replace(settings, priority_and_fairness=priority_and_fairness)
    if audit_log is not None:
        settings = replace(settings, audit_log=str(audit_log.expanduser().absolute()))
    if audit_policy is not None:
        if not settings.audit_log:
            raise KubedynoError("--audit-policy-file: says what an audit log has; add --audit-log-path FILE")
        settings = replace(settings, audit_policy=str(audit_policy.expanduser().absolute()))
    settings = _rotated(settings, audit_maxsize_mb, audit_maxage_days, audit_maxbackup)
    if settings.audit_policy:
        # Read again when the cluster starts; what is wrong with it is better said now.
        read_policy(Path(settings.audit_policy))
    if tracing is not None:
        settings = replace(settings, tracing=str(tracing.expanduser().absolute()))
    if settings.tracing:
        read_tracing(Path(settings.tracing))
        require_extra("the API server")
    if data_dir is not None:
        settings = replace(settings, data_dir=str(data_dir.expanduser().absolute()))
    settings, more = _with_blocks(settings, chosen=config is not None or node_cidr_mask is not None)
    warnings = [*warnings, *more]
    _check_classes(settings)
    if settings.runtime == "model" and (datapath is not None or images is not None):
        raise KubedynoError("--datapath and --images are for pods that are processes: add --runtime netns")
    if settings.runtime != "model" and len(settings.nodes) > MAX_REAL_NODES:
        raise KubedynoError(f"--runtime {settings.runtime}: at most {MAX_REAL_NODES} nodes, not {len(settings.nodes)}")
    return settings, warnings


def _with_blocks(settings: ClusterSettings, *, chosen: bool) -> tuple[ClusterSettings, list[str]]:
    """Return settings whose pod subnet has a block for each node, and what is to be said of it.

    Args:
        settings: What was asked for.
        chosen: Subnet or block size are what somebody wrote: they stay, and nodes without a block are told.
    """
    network = ip_network(settings.pod_subnet.split(",", maxsplit=1)[0], strict=False)
    mask, nodes = settings.node_cidr_mask, len(settings.nodes)
    blocks = 1 << max(mask - network.prefixlen, 0)
    if not settings.allocate_node_cidrs or nodes <= blocks:
        return settings, []
    has = f"{network} has {blocks} blocks of /{mask}"
    if chosen:
        without = nodes - blocks
        why = "they stay NotReady (CIDRNotAvailable)" if settings.cni == "kindnet" else "CIDRNotAvailable"
        return settings, [
            f"{without} of {nodes} nodes get no PodCIDR: {has}; {why}. More blocks: a larger podSubnet, or a longer mask"
        ]
    # Of the private addresses the half that services and the usual pod subnet are not in.
    wide = f"10.128.0.0/{mask - (nodes - 1).bit_length()}"
    return replace(settings, pod_subnet=wide), [f"{nodes} nodes: {has}, so pods are in {wide}"]


def class_of(flag: str, text: str) -> tuple[str, int, tuple[tuple[str, str], ...]]:
    """Return (name, count, labels) of a class of nodes.

    Args:
        flag: Named in errors.
        text: E.g. "name=big,count=10,cpu=64,memory=256Gi,pods=250,zone=b,kernel=6.12,mask=25,label.disk=ssd".

    Raises:
        KubedynoError: It is malformed.
    """
    name, count, labels = "", 1, {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise KubedynoError(f"{flag} {text}: {part!r} is no KEY=VALUE")
        if key == "name":
            name = value
        elif key == "count":
            if not value.isdecimal() or not 1 <= int(value) <= MAX_NODES:
                raise KubedynoError(f"{flag} {text}: count must be between 1 and {MAX_NODES}")
            count = int(value)
        elif key in KEYS:
            labels[KEYS[key]] = value
        elif key.startswith("label."):
            labels[key.removeprefix("label.")] = value
        else:
            known = ", ".join(("name", "count", *KEYS, "label.NAME"))
            raise KubedynoError(f"{flag} {text}: there is no {key!r}; known are: {known}")
    wrong = [problem for key in labels for problem in problems_of_qualified_name(key)]
    wrong += [problem for value in labels.values() for problem in problems_of_label_value(value)]
    if wrong:
        raise KubedynoError(f"{flag} {text}: {wrong[0]}")
    return name, count, tuple(labels.items())


def _class(text: str, settings: ClusterSettings) -> tuple[NodeSettings, ...]:
    """Return the nodes of a class: NAME-CLASS, NAME-CLASS2 and on."""
    name, count, labels = class_of("--node-class", text)
    problems = problems_of_dns1123_subdomain(name)
    if problems:
        raise KubedynoError(f"--node-class {text}: name={name}: {problems[0]}")
    names = [f"{settings.name}-{name}{number if number > 1 else ''}" for number in range(1, count + 1)]
    taken = {node.name for node in settings.nodes}
    if taken.intersection(names):
        raise KubedynoError(f"--node-class {text}: there is a node {min(taken.intersection(names))} already")
    return tuple(NodeSettings(node, labels=((CLASS, name), *labels)) for node in names)


def _check_classes(settings: ClusterSettings) -> None:
    for node in settings.nodes:
        try:
            classed(node)
        except ValueError as error:
            raise KubedynoError(f"node {node.name}: label {error}") from error


def _registry(text: str) -> tuple[str, str, str]:
    """Return (host with an optional path, user, password) of a --private-registry."""
    place, equals, login = text.partition("=")
    user, colon, password = login.partition(":")
    if not (equals and colon and place and user and password) or "://" in place:
        # Without what was given: it may hold a password.
        raise KubedynoError(
            "--private-registry: write HOST[/PATH]=USER:PASSWORD, for example registry.example/team=puller:secret"
        )
    return place.strip("/"), user, password


def _gates(text: str) -> dict[str, bool]:
    """Return the gates of --feature-gates, as Kubernetes' components write them: A=true,B=false."""
    gates = {}
    for part in filter(None, (word.strip() for word in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or value.lower() not in {"true", "false"} or not name.isalnum():
            raise KubedynoError(f"--feature-gates {part}: write NAME=true or NAME=false, comma separated")
        gates[name] = value.lower() == "true"
    return gates


def _images(path: Path) -> dict[str, list[str]]:
    """Return the image table of a file: YAML, pattern → command line as a list or as one string."""
    try:
        document = yaml.load(path.read_text(), str(path), strict=True)
    except OSError as error:
        raise KubedynoError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise KubedynoError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise KubedynoError(f"{path}: has to map image patterns to commands, for example: mine/tool: [/opt/tool, -v]")
    found = {}
    for pattern, command in document.items():
        words = shlex.split(command) if isinstance(command, str) else command
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise KubedynoError(f"{path}: {pattern}: a command is a string or a list of strings")
        found[str(pattern)] = words
    return found


def _nodes(cluster: str, count: int) -> tuple[NodeSettings, ...]:
    names = node_names(cluster, 1, count - 1)
    return tuple(NodeSettings(name, control_plane=index == 0) for index, name in enumerate(names))


def _rotated(
    settings: ClusterSettings, size_mb: int | None, age_days: int | None, backups: int | None
) -> ClusterSettings:
    """Return settings with the rotation of the audit log that flags say."""
    for flag, value in (("maxsize", size_mb), ("maxage", age_days), ("maxbackup", backups)):
        if value is None:
            continue
        if not settings.audit_log:
            raise KubedynoError(f"--audit-log-{flag}: says when an audit log is put aside; add --audit-log-path FILE")
        if value < 0:
            raise KubedynoError(f"--audit-log-{flag}: {value} is negative; give a whole number, 0 for the default")
    return replace(
        settings,
        audit_maxsize_mb=settings.audit_maxsize_mb if size_mb is None else size_mb,
        audit_maxage_days=settings.audit_maxage_days if age_days is None else age_days,
        audit_maxbackup=settings.audit_maxbackup if backups is None else backups,
    )
