"""A Spec and its template files to a Plan: every object that a run would create, without touching a cluster.

`make_plan` reads and compiles the templates and renders the first object of each, so that what is wrong with a template
is said before anything is created. `ObjectPlan.render` makes the JSON of one object, in ~15 µs when its shape was seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.kube.yaml import YAMLError
from kubedyno.load.config.spec import JobSpec, ObjectSpec, Spec
from kubedyno.load.plan import labels
from kubedyno.load.plan.body import Json, documents, json_of
from kubedyno.load.plan.splice import NotSpliceable, Program, marker
from kubedyno.load.plan.template import Shape, TemplateFile

log = logger(__name__)

# A template whose every object looks different gains nothing from remembering shapes.
MAX_SHAPES = 256
# So many objects of each shape are made both ways and compared.
SELF_CHECKS = 2
_WITH_IMAGES = frozenset({"Deployment", "DaemonSet", "ReplicaSet", "Job", "StatefulSet", "Pod"})


class Rendered(NamedTuple):
    """One object to create; `namespace` is the object's own, "" for its iteration's."""

    kind: str
    name: str
    namespace: str
    body: bytes


@dataclass(slots=True)
class _Known:
    """What is known of a shape: how to splice it, or that it takes the whole way."""

    program: Program | None
    to_check: int = SELF_CHECKS


class ObjectPlan:
    """One document of a template file and the objects made from it.

    Args:
        spec: The configuration's entry.
        file: Its template.
        document: Which of the file's documents.
        variables: Of every object; `Iteration` and `Replica` come with each unless they are among them.
        shared: Labels of every object.
        iterations: Of the job.
        index: Position among the job's objects, the value of the index label.

    Attributes:
        template: The file, as the configuration names it.
        namespace: The namespace that the template fixes, "" when there is none or it depends on variables.
        expected: How many objects there will be.
    """

    def __init__(
        self,
        spec: ObjectSpec,
        file: TemplateFile,
        document: int,
        variables: Json,
        shared: dict[str, str],
        iterations: int,
        index: int,
        first: Json,
    ) -> None:
        self.template = spec.template
        self.index = index
        self.replicas = spec.replicas
        self.wait = spec.wait
        self.run_once = spec.run_once
        self.expected = spec.replicas * (1 if spec.run_once else iterations)
        self.first = first
        self._file = file
        self._document = document
        self._variables = variables
        self._own_iteration = "Iteration" not in variables
        self._own_replica = "Replica" not in variables
        self._labels = shared
        self._shapes: dict[Shape, _Known] = {}
        self.kind = self._word("kind")
        self.api_version = self._word("apiVersion")
        self.namespace = self._fixed_namespace()

    def _word(self, key: str) -> str:
        value = self.first.get(key)
        if not isinstance(value, str) or not value:
            raise KubedynoError(
                f"Error decoding YAML ({self.template}): Object '{key}' is missing in document {self._document}"
            )
        return value

    def _fixed_namespace(self) -> str:
        shape, values = self._trace(0, 1)
        known = self._shape(shape, values)
        if known.program is not None:
            return known.program.namespace.constant or ""
        marked = self._parse(self._file.text(shape, [marker(n) for n in range(len(values))]), tolerant=True)
        own = _metadata(self.first).get("namespace")
        return str(own or "") if marked is not None and own == _metadata(marked).get("namespace") else ""

    def due(self, iteration: int) -> bool:
        """Say whether an iteration makes objects of this template."""
        return iteration == 0 or not self.run_once

    def render(self, iteration: int, replica: int) -> Rendered:
        """Return one object.

        Args:
            iteration: From 0.
            replica: From 1.

        Raises:
            KubedynoError: An action of the template failed, or what it made is no object.
        """
        shape, values = self._trace(iteration, replica)
        known = self._shapes.get(shape)
        if known is None:
            known = self._shape(shape, values)
        program = known.program
        if program is None or not program.fits(values):
            return self._whole(shape, values, iteration, replica)
        values += (str(iteration), str(replica))
        made = Rendered(self.kind, program.name.of(values), program.namespace.of(values), program.splice(values))
        if known.to_check:
            known.to_check -= 1
            whole = self._whole(shape, values[:-2], iteration, replica)
            if orjson.loads(whole.body) != orjson.loads(made.body):
                # Never seen; but an object must be right whatever a template does.
                log.warning("%s: its objects cannot be spliced, which makes them slower", self.template)
                known.program = None
                return whole
        return made

    def _trace(self, iteration: int, replica: int) -> tuple[Shape, list[str]]:
        data = self._variables.copy()
        if self._own_iteration:
            data["Iteration"] = iteration
        if self._own_replica:
            data["Replica"] = replica
        return self._file.trace(data)

    def _shape(self, shape: Shape, values: list[str]) -> _Known:
        if len(self._shapes) >= MAX_SHAPES:
            return _Known(None)
        known = self._shapes[shape] = _Known(self._program(shape, len(values)))
        return known

    def _program(self, shape: Shape, holes: int) -> Program | None:
        text = self._file.text(shape, [marker(number) for number in range(holes)])
        body = self._parse(text, tolerant=True)
        if body is None:
            return None
        each = {labels.ITERATION: marker(holes), labels.REPLICA: marker(holes + 1)}
        labels.add_labels(body, self._labels | each)
        try:
            return Program(text, holes, body)
        except NotSpliceable as reason:
            log.debug("%s: rendered the whole way: %s", self.template, reason)
        except (YAMLError, ValueError) as error:
            log.debug("%s: rendered the whole way: %s", self.template, error)
        return None

    def _parse(self, text: str, *, tolerant: bool = False) -> Json | None:
        try:
            found = documents(text, self.template)
        except KubedynoError:
            if tolerant:
                return None
            raise
        return found[self._document] if self._document < len(found) else None

    def _whole(self, shape: Shape, values: list[str], iteration: int, replica: int) -> Rendered:
        body = self._parse(self._file.text(shape, values))
        where = f"{self.template}: iteration {iteration}, replica {replica}"
        if body is None:
            raise KubedynoError(f"{where}: there is no document {self._document} in what the template makes")
        if (body.get("kind"), body.get("apiVersion")) != (self.kind, self.api_version):
            raise KubedynoError(
                f"{where}: makes a {body.get('kind')} of {body.get('apiVersion')}, "
                f"unlike the {self.kind} of {self.api_version} before; use one template for each kind"
            )
        labels.add_labels(body, self._labels | {labels.ITERATION: str(iteration), labels.REPLICA: str(replica)})
        metadata = _metadata(body)
        try:
            made = json_of(body)
        except ValueError as error:
            raise KubedynoError(f"{where}: {error}") from error
        name = metadata.get("name") or metadata.get("generateName") or ""
        return Rendered(self.kind, str(name), str(metadata.get("namespace") or ""), made)


def _metadata(body: Json) -> Json:
    metadata = body.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


@dataclass(frozen=True, slots=True)
class Deletion:
    """What an entry of a delete job removes."""

    kind: str
    api_version: str
    selector: str


class JobPlan:
    """One job of a plan.

    Attributes:
        objects: One an object document; entries with replicas below 1 are left out.
        images: To pull before the run, each once.
        deletions: Of a delete job.
        namespace_labels: Of the namespaces it makes.
    """

    def __init__(
        self, spec: JobSpec, objects: Sequence[ObjectPlan], namespace_labels: dict[str, str], *, compat: int
    ) -> None:
        self.spec = spec
        self.objects = tuple(objects)
        self.namespace_labels = namespace_labels
        self.images = _images(self.objects, init=compat == 1)
        self.deletions = tuple(
            Deletion(item.kind, item.api_version, ",".join(f"{k}={v}" for k, v in sorted(item.label_selector.items())))
            for item in (spec.objects if spec.job_type == "delete" else ())
        )

    @property
    def requests(self) -> int:
        """How many objects it creates."""
        return sum(item.expected for item in self.objects)

    @property
    def outside(self) -> list[tuple[str, str, str]]:
        """Kinds that may live outside the job's namespaces: (kind, apiVersion, fixed namespace or "").

        Only the cluster knows which kinds without a namespace have none because they are cluster-scoped.
        """
        return list(dict.fromkeys((item.kind, item.api_version, item.namespace) for item in self.objects))

    def namespace_of(self, iteration: int) -> str:
        """Return the namespace of an iteration's objects."""
        spec = self.spec
        if not spec.namespaced_iterations:
            return spec.namespace
        return f"{spec.namespace}-{iteration // spec.iterations_per_namespace}"

    def namespaces(self) -> list[str]:
        """Return the namespaces of all iterations, in order."""
        spec = self.spec
        if not spec.namespaced_iterations:
            return [spec.namespace]
        return [f"{spec.namespace}-{n}" for n in range(-(-spec.job_iterations // spec.iterations_per_namespace))]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do; `warnings` are said when it starts."""

    spec: Spec
    jobs: tuple[JobPlan, ...]
    warnings: tuple[str, ...] = ()


def make_plan(spec: Spec, *, uuid: str, runid: str, compat: int, directory: Path) -> Plan:
    """Return the plan of a configuration.

    Args:
        spec: The configuration.
        uuid: Of the run.
        runid: Of the run.
        compat: 1 or 2: whose defaults.
        directory: Of the configuration file, where templates are looked for after the working directory.

    Raises:
        KubedynoError: A template is missing or wrong; the message says which, and in which line.
    """
    files: dict[tuple[str, bool], TemplateFile] = {}
    warnings: list[str] = []
    jobs = []
    for job in spec.jobs:
        objects: list[ObjectPlan] = []
        if job.job_type == "create":
            objects = _objects(job, files, warnings, uuid, runid, compat, directory)
        jobs.append(
            JobPlan(job, objects, labels.namespace_labels(job.name, uuid, runid, job.namespace_labels), compat=compat)
        )
    return Plan(spec, tuple(jobs), (*spec.warnings, *warnings))


def _objects(
    job: JobSpec,
    files: dict[tuple[str, bool], TemplateFile],
    warnings: list[str],
    uuid: str,
    runid: str,
    compat: int,
    directory: Path,
) -> list[ObjectPlan]:
    found: list[ObjectPlan] = []
    index = 0
    for item in job.objects:
        strict = not job.default_missing_keys_with_zero
        file = files.get((item.template, strict))
        if file is None:
            file = files[item.template, strict] = TemplateFile(item.template, directory, missing_key_error=strict)
        variables = {"JobName": job.name, "UUID": uuid, "RunID": runid} | _plain(item.input_vars)
        if item.replicas < 1:
            warnings.append(f"Object template {item.template} has replicas {item.replicas} < 1, skipping")
            index += 1
            continue
        first = documents(file.text(*file.trace({"Iteration": 0, "Replica": 1} | variables)), item.template)
        if not first:
            raise KubedynoError(f"Error decoding YAML ({item.template}): it makes no object")
        if compat == 1:
            # 1.x reads only the first document.
            first = first[:1]
        for number, body in enumerate(first):
            shared = labels.object_labels(job.name, uuid, runid, index)
            found.append(ObjectPlan(item, file, number, variables, shared, job.job_iterations, index, body))
            index += 1
    return found


def _plain(value: Any) -> Any:
    """Return a value of the configuration as plain containers, which templates are quickest with."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value


def _images(objects: Sequence[ObjectPlan], *, init: bool) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for item in objects:
        if item.kind not in _WITH_IMAGES:
            continue
        spec = item.first.get("spec")
        if item.kind != "Pod" and isinstance(spec, dict):
            template = spec.get("template")
            spec = template.get("spec") if isinstance(template, dict) else None
        if not isinstance(spec, dict):
            continue
        for key in ("initContainers", "containers") if init else ("containers",):
            for container in spec.get(key) or ():
                if isinstance(container, dict) and isinstance(container.get("image"), str):
                    found[container["image"]] = None
    return tuple(found)
