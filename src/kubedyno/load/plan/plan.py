"""A Spec and its template files to a Plan: every object that a run would create, without touching a cluster.

`make_plan` reads and compiles the templates and renders the first object of each, so that what is wrong with a template
is said before anything is created. `ObjectPlan.render` makes the JSON of one object, in ~15 µs when its shape was seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.kube.yaml import YAMLError
from kubedyno.load.config.spec import JobSpec, ObjectSpec, Spec, WaitSpec
from kubedyno.load.plan import labels, paths
from kubedyno.load.plan.body import Json, documents, json_of
from kubedyno.load.plan.splice import NotSpliceable, Program, marker
from kubedyno.load.plan.template import Shape, TemplateFile, read_template

log = logger(__name__)

# A template whose every object looks different gains nothing from remembering shapes.
MAX_SHAPES = 256
# So many objects of each shape are made both ways and compared.
SELF_CHECKS = 2
_WITH_REPLICAS = frozenset({"Deployment", "ReplicaSet", "StatefulSet"})
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
        self.wait_options = spec.wait_options
        self.run_once = spec.run_once
        self.repeat_every = spec.repeat_every
        self.churn = spec.churn
        self.group = spec.group
        self.expected = spec.replicas * (1 if spec.run_once else -(-iterations // spec.repeat_every))
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
        return iteration == 0 if self.run_once else iteration % self.repeat_every == 0

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
            data["Iteration"] = iteration if self.repeat_every == 1 else iteration // self.repeat_every
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


class TargetPlan:
    """An entry of a delete, patch, read or kubevirt job: what it does to the objects with a label.

    Attributes:
        kind: Of the objects.
        api_version: As the configuration has it.
        selector: Label selector.
        patch_type: Content type of a patch job's requests.
        operation: Of a kubevirt job.
        input_vars: The configuration's, with the job's variables.
        wait: Whether it is waited for.
        wait_options: How.
    """

    def __init__(self, spec: ObjectSpec, file: TemplateFile | None, variables: Json, *, raw: bool) -> None:
        self.kind = spec.kind
        self.api_version = spec.api_version
        self.selector = ",".join(f"{key}={value}" for key, value in sorted(spec.label_selector.items()))
        self.patch_type = spec.patch_type
        self.operation = spec.kubevirt_op
        self.template = spec.template
        self.wait = spec.wait
        self.wait_options: WaitSpec = spec.wait_options
        self.input_vars = variables
        self._file = file
        # 1.x sends a `.json` template as it is.
        self._raw = raw and spec.template.endswith("json")

    def patch(self, iteration: int) -> bytes:
        """Return the body of an iteration's patches.

        Raises:
            KubedynoError: The template cannot be rendered, or makes no YAML.
        """
        assert self._file is not None, "only patch jobs have a template"
        if self._raw:
            return self._file.raw.encode()
        text = self._file.render({"Iteration": iteration, "Replica": 0} | self.input_vars)
        if self.template.endswith("json") or self.patch_type == "application/apply-patch+yaml":
            return text.encode()
        found = documents(text, self.template)
        if not found:
            raise KubedynoError(f"Error decoding YAML ({self.template}): it makes no patch")
        return json_of(found[0])


class JobPlan:
    """One job of a plan.

    Attributes:
        objects: One an object document; entries with replicas below 1 are left out.
        images: To pull before the run, each once.
        targets: Of a job over objects that are there already.
        namespace_labels: Of the namespaces it makes.
        runid: What its objects are labelled with.
    """

    def __init__(
        self,
        spec: JobSpec,
        objects: Sequence[ObjectPlan],
        targets: Sequence[TargetPlan],
        namespace_labels: dict[str, str],
        *,
        runid: str,
        compat: int,
    ) -> None:
        self.spec = spec
        self.runid = runid
        self.targets = tuple(targets)
        self.objects = tuple(objects)
        self.namespace_labels = namespace_labels
        self.images = _images(self.objects, init=compat == 1)

    @property
    def requests(self) -> int:
        """How many objects it creates."""
        return sum(item.expected for item in self.objects)

    @property
    def pods(self) -> int:
        """How many pods its objects make, as far as the first of each template tells."""
        return sum(item.expected * _pods(item) for item in self.objects if not item.group.gc)

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

    @property
    def grouped(self) -> bool:
        """Whether its objects are made group by group."""
        return any(item.group.id for item in self.objects)

    def namespaces(self) -> list[str]:
        """Return the namespaces of all iterations, in order."""
        spec = self.spec
        if not spec.namespaced_iterations:
            return [spec.namespace]
        return [f"{spec.namespace}-{n}" for n in range(-(-spec.job_iterations // spec.iterations_per_namespace))]


@dataclass(frozen=True, slots=True)
class Making:
    """What plans are made with: the run's ids, whose defaults, and where templates are."""

    uuid: str
    runid: str
    compat: int
    directory: Path
    function_templates: tuple[str, ...] = ()


class Plan:
    """What a run will do; `warnings` are said when it starts."""

    def __init__(self, spec: Spec, making: Making) -> None:
        self.spec = spec
        self.making = making
        self._files: dict[tuple[str, bool], TemplateFile] = {}
        self._more = tuple(read_template(name, making.directory) for name in making.function_templates)
        warnings: list[str] = []
        self.jobs = tuple(self._job(job, making, warnings) for job in spec.jobs)
        self.warnings = (*spec.warnings, *warnings)

    def remade(self, job: JobPlan, *, runid: str, iterations: int) -> JobPlan:
        """Return a job's plan for another number of iterations, with a run id of its own."""
        return self._job(replace(job.spec, job_iterations=iterations), replace(self.making, runid=runid), [])

    def _file(self, job: JobSpec, name: str) -> TemplateFile:
        strict = not job.default_missing_keys_with_zero
        file = self._files.get((name, strict))
        if file is None:
            file = TemplateFile(name, self.making.directory, missing_key_error=strict, more=self._more)
            self._files[name, strict] = file
        return file

    def _job(self, job: JobSpec, making: Making, warnings: list[str]) -> JobPlan:
        objects: list[ObjectPlan] = []
        targets: list[TargetPlan] = []
        if job.job_type == "create":
            objects = self._objects(job, making, warnings)
        else:
            for item in job.objects:
                file = self._file(job, item.template) if job.job_type == "patch" else None
                targets.append(TargetPlan(item, file, _variables(job, item, making), raw=making.compat == 1))
                if file is not None:
                    targets[-1].patch(0)
        own = labels.namespace_labels(job.name, making.uuid, making.runid, job.namespace_labels)
        return JobPlan(job, objects, targets, own, runid=making.runid, compat=making.compat)

    def _objects(self, job: JobSpec, making: Making, warnings: list[str]) -> list[ObjectPlan]:
        found: list[ObjectPlan] = []
        index = 0
        for item in job.objects:
            file = self._file(job, item.template)
            variables = _variables(job, item, making)
            if item.replicas < 1:
                warnings.append(f"Object template {item.template} has replicas {item.replicas} < 1, skipping")
                index += 1
                continue
            first = documents(file.render({"Iteration": 0, "Replica": 1} | variables), item.template)
            if not first:
                raise KubedynoError(f"Error decoding YAML ({item.template}): it makes no object")
            if making.compat == 1:
                # 1.x reads only the first document.
                first = first[:1]
            for number, body in enumerate(first):
                shared = labels.object_labels(job.name, making.uuid, making.runid, index, item.group.id)
                found.append(ObjectPlan(item, file, number, variables, shared, job.job_iterations, index, body))
                index += 1
        return found


def make_plan(spec: Spec, *, uuid: str, runid: str, compat: int, directory: Path) -> Plan:
    """Return the plan of a configuration.

    Args:
        spec: The configuration.
        uuid: Of the run.
        runid: Of the run.
        compat: 1 or 2: whose defaults.
        directory: Of the configuration file, where templates are looked for after the working directory.

    Raises:
        KubedynoError: A template is missing or wrong, and then the message says which, and in which line; or a path is no jq.
    """
    paths.check(spec)
    return Plan(spec, Making(uuid, runid, compat, directory, spec.global_.function_templates))


def _variables(job: JobSpec, item: ObjectSpec, making: Making) -> Json:
    """Return what every rendering of an entry knows."""
    own = {"JobName": job.name, "UUID": making.uuid, "RunID": making.runid}
    return own | dict(_plain(item.input_vars))


def _plain(value: Any) -> Any:
    """Return a value of the configuration as plain containers, which templates are quickest with."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value


def _pods(item: ObjectPlan) -> int:
    if item.kind == "Pod":
        return 1
    spec = item.first.get("spec")
    if item.kind not in _WITH_REPLICAS or not isinstance(spec, dict):
        return 0
    replicas = spec.get("replicas", 1)
    return replicas if isinstance(replicas, int) else 0


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
            containers = spec.get(key)
            # What is malformed is the API's to refuse.
            for container in containers if isinstance(containers, list) else ():
                if isinstance(container, dict) and isinstance(container.get("image"), str):
                    found[container["image"]] = None
    return tuple(found)
