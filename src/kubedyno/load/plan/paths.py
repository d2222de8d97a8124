"""The jq paths of a configuration, compiled before anything is sent: a wrong one would only never match."""

from collections.abc import Iterator

from kubedyno.base.errors import KubedynoError
from kubedyno.load.config.spec import MeasurementSpec, Spec
from kubedyno.load.plan import jq


def check(spec: Spec) -> None:
    """Compile all of them.

    Raises:
        KubedynoError: One is no jq.
    """
    for where, path in _paths(spec):
        try:
            jq.compiled(path)
        except jq.JqError as error:
            raise KubedynoError(f"{where}: {error}") from error


def _paths(spec: Spec) -> Iterator[tuple[str, str]]:
    yield from _of_measurements("global", spec.global_.measurements)
    for job in spec.jobs:
        yield from _of_measurements(f"job {job.name}", job.measurements)
        for number, item in enumerate(job.objects):
            for path in item.wait_options.paths:
                yield f"job {job.name}: objects[{number}].waitOptions.customStatusPaths", path.key


def _of_measurements(where: str, measurements: tuple[MeasurementSpec, ...]) -> Iterator[tuple[str, str]]:
    for measurement in measurements:
        for condition in measurement.conditions:
            yield f"{where}: {measurement.name}, condition {condition.name}", condition.path
