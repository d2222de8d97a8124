"""A configuration file to a `Spec`: rendered as a template, `--set` applied, decoded strictly, checked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml
from kubedyno.load.config import endpoints, jobs, measuring
from kubedyno.load.config.fields import Section
from kubedyno.load.config.sources import read_text
from kubedyno.load.config.spec import EndpointSpec, GlobalSpec, JobSpec, Spec

Json = dict[str, Any]
# (template text, values, missing keys are errors) → text: the composition brings the template engine.
Render = Callable[[str, Mapping[str, Any], bool], str]

_TOP = dict.fromkeys(("global", "metricsEndpoints", "jobs"))
_GLOBAL = dict.fromkeys(
    (
        "measurements", "requestTimeout", "gc", "gcMetrics", "waitWhenFinished", "timeout", "gcTimeout", "clusterHealth",
        "functionTemplates", "deletionStrategy",
    )
)  # fmt: skip


def load_config(
    path: str,
    *,
    render: Render,
    user_data: str | None = None,
    set_values: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    allow_missing: bool = False,
    compat: int = 2,
    uuid: str = "",
    timeout_s: float = 4 * 3600.0,
    metrics_endpoint: str | None = None,
    needs_jobs: bool = True,
) -> Spec:
    """Read a configuration file.

    Args:
        path: The file, or an http(s) URL.
        render: The template engine.
        user_data: File of template values; they win over the environment, as in the original.
        set_values: `a.b.c=v`, applied to the rendered file.
        env: Template values.
        allow_missing: A missing template value is no error.
        compat: 1 or 2: whose defaults.
        uuid: Template value `.UUID` (2.x).
        timeout_s: What a missing maxWaitTimeout means.
        metrics_endpoint: File of endpoints that stand instead of the configuration's.
        needs_jobs: A configuration without jobs is an error.

    Raises:
        KubedynoError: With file, line and path of the mistake.
    """
    text = read_text(path, "config file")
    values: Json = dict(env or {})
    if user_data is not None:
        data = yaml.load(read_text(user_data, "user data file"), user_data, words=False)
        if not isinstance(data, dict) or not data:
            raise KubedynoError(f"--user-data {user_data}: holds no mapping of values")
        values |= data
    if compat == 2:
        values["UUID"] = uuid
    try:
        text = render(text, values, not allow_missing)
    except ValueError as error:
        raise KubedynoError(f"error rendering configuration template: rendering error: {error}") from error
    try:
        document = yaml.load(text, strict=True, words=False)
    except yaml.YAMLError as error:
        raise KubedynoError(f"failed to parse config file: {path}: {error}") from error
    if document is None:
        document = {}
    for assignment in set_values:
        for one in assignment.split(","):
            _set(document, one)
    others = None
    if metrics_endpoint is not None:
        others = endpoints.from_file(metrics_endpoint, render, env or {}, compat)
    return _spec(document, compat, timeout_s, others, needs_jobs=needs_jobs)


def _set(document: Any, assignment: str) -> None:
    path, equals, raw = assignment.partition("=")
    if not equals or not path:
        raise KubedynoError(f"--set {assignment}: write PATH=VALUE, for example jobs.0.qps=5")
    place = document
    steps = path.split(".")
    for position, step in enumerate(steps):
        last = position == len(steps) - 1
        if isinstance(place, list):
            if not step.isdigit() or int(step) >= len(place):
                raise KubedynoError(f"--set {assignment}: there is no item {step} at {'.'.join(steps[:position])}")
            if last:
                place[int(step)] = _set_value(raw)
            else:
                place = place[int(step)]
        elif isinstance(place, dict):
            if last:
                place[step] = _set_value(raw)
            else:
                place = place.setdefault(step, {})
        else:
            raise KubedynoError(f"--set {assignment}: {'.'.join(steps[:position])} holds no {step}")


def _set_value(raw: str) -> Any:
    for kind in (int, float):
        try:
            return kind(raw)
        except ValueError:
            continue
    if raw in {"true", "t", "T", "TRUE", "True"}:
        return True
    if raw in {"false", "f", "F", "FALSE", "False"}:
        return False
    return raw


def _spec(
    document: Any, compat: int, timeout_s: float, others: tuple[EndpointSpec, ...] | None, *, needs_jobs: bool
) -> Spec:
    top = Section(document, (), "config.Spec", _TOP)
    warnings: list[str] = []
    general = _general(document, top, compat, warnings)
    found = others
    if found is None:
        found = endpoints.endpoints(document, ("metricsEndpoints",), top.count("metricsEndpoints"), compat)
    count = top.count("jobs")
    if not count and needs_jobs:
        raise KubedynoError("failed to parse config file: configuration file: there are no jobs; list at least one")
    made = tuple(jobs.job(document, i, general, compat, timeout_s, warnings) for i in range(count))
    names = [job.name for job in made]
    if len(set(names)) != len(names):
        raise KubedynoError("Job names must be unique")
    if general.wait_when_finished and any(job.gc for job in made):
        raise KubedynoError("jobs GC and global waitWhenFinished cannot be enabled at the same time; drop one of them")
    _check_parallel(made)
    _check_aliases(general, made, found)
    return Spec(general, found, made, tuple(warnings), document)


def _general(document: Any, top: Section, compat: int, warnings: list[str]) -> GlobalSpec:
    if not top.has("global"):
        return GlobalSpec()
    section = Section(document, ("global",), "config.GlobalConfig", _GLOBAL)
    if section.has("gcTimeout") and compat == 2:
        warnings.append("global.gcTimeout is 1.x's: the run's --timeout bounds garbage collection")
    strategy = section.text("deletionStrategy", "default")
    if strategy not in {"default", "gvr"}:
        warnings.append(f"global.deletionStrategy {strategy!r} is neither default nor gvr: default is used")
        strategy = "default"
    return GlobalSpec(
        measurements=measuring.measurements(document, ("global",), section, warnings),
        request_timeout_s=section.seconds("requestTimeout", 60.0),
        gc=section.boolean("gc", False),
        gc_metrics=section.boolean("gcMetrics", False),
        wait_when_finished=section.boolean("waitWhenFinished", False),
        cluster_health=section.boolean("clusterHealth", False),
        function_templates=section.texts("functionTemplates"),
        deletion_strategy=strategy,
    )


def _check_parallel(made: Sequence[JobSpec]) -> None:
    """Refuse a `parallelWith` that names no job before it."""
    before: set[str] = set()
    for job in made:
        if job.parallel_with and job.parallel_with not in before:
            raise KubedynoError(f"job {job.name}: parallelWith {job.parallel_with!r} must name a job before it")
        before.add(job.name)


def _check_aliases(general: GlobalSpec, made: Sequence[JobSpec], found: Sequence[EndpointSpec]) -> None:
    """Refuse indexers of measurements that no endpoint has."""
    known = {entry.alias or f"indexer-{number}" for number, entry in enumerate(found) if entry.indexer is not None}
    for m in (*general.measurements, *(m for job in made for m in job.measurements)):
        for alias in (m.quantiles_indexer, m.timeseries_indexer):
            if alias and alias not in known:
                raise KubedynoError(
                    f"One of the indexers for measurement {m.name} has not been found: {alias}; "
                    f"known are: {', '.join(sorted(known)) or 'none'}"
                )
