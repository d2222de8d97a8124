"""Operations of kubevirt jobs: requests to the subresources of VirtualMachines, and when one has taken effect."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import epoch_of
from kubedyno.client.api import Client
from kubedyno.load.engine.readiness import Condition, Rule, Subject, decode_subject

_GROUP = "/apis/subresources.kubevirt.io/v1"
_CACHES = ("", "none", "writethrough", "writeback")


def _flag(values: Mapping[str, Any], key: str) -> bool:
    return str(values.get(key, "")).lower() in {"true", "1", "yes", "on"}


async def request_of(
    client: Client, operation: str, item: dict[str, Any], values: Mapping[str, Any], job: str, iteration: int,
    labels: Mapping[str, str],
) -> tuple[str, str, bytes]:  # fmt: skip
    """Return method, path and body of an operation on a VirtualMachine.

    Args:
        client: Asked what a volume is.
        operation: `kubeVirtOp`.
        item: The VirtualMachine.
        values: `inputVars`.
        job: Name of the job.
        iteration: From 0.
        labels: Of what a migration creates.

    Raises:
        KubedynoError: A value is missing or wrong.
    """
    meta = item["metadata"]
    name, namespace = meta["name"], meta["namespace"]
    machine = f"{_GROUP}/namespaces/{namespace}/virtualmachines/{name}"
    instance = f"{_GROUP}/namespaces/{namespace}/virtualmachineinstances/{name}"
    if operation == "start":
        return "PUT", f"{machine}/start", orjson.dumps({"paused": _flag(values, "startPaused")})
    if operation in {"stop", "restart"}:
        key = "gracePeriod" if operation == "stop" else "gracePeriodSeconds"
        return "PUT", f"{machine}/{operation}", orjson.dumps({key: 0} if _flag(values, "force") else {})
    if operation in {"pause", "unpause"}:
        return "PUT", f"{instance}/{operation}", b"{}"
    if operation == "migrate":
        body = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstanceMigration",
            "metadata": {"generateName": f"{name}-{job}-{iteration}-", "labels": dict(labels)},
            "spec": {"vmiName": name},
        }
        path = f"/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstancemigrations"
        return "POST", path, orjson.dumps(body)
    volume = values.get("volumeName")
    if not volume:
        raise KubedynoError(f"kubeVirtOp {operation}: needs inputVars.volumeName")
    place = machine if _flag(values, "persist") else instance
    if operation == "remove-volume":
        return "PUT", f"{place}/removevolume", orjson.dumps({"name": volume})
    return "PUT", f"{place}/addvolume", await _volume(client, namespace, str(volume), values)


async def _volume(client: Client, namespace: str, volume: str, values: Mapping[str, Any]) -> bytes:
    kind = str(values.get("diskType", "disk"))
    cache = str(values.get("cache", ""))
    if kind not in {"disk", "lun"} or cache not in _CACHES:
        raise KubedynoError(
            f"kubeVirtOp add-volume: diskType must be disk or lun, cache one of none, writethrough, writeback; "
            f"not {kind!r} and {cache!r}"
        )
    disk: dict[str, Any] = {"name": volume, "serial": str(values.get("serial", volume)), kind: {"bus": "scsi"}}
    if cache:
        disk["cache"] = cache
    answer = await client.request("GET", f"/apis/cdi.kubevirt.io/v1beta1/namespaces/{namespace}/datavolumes/{volume}")
    source: dict[str, Any] = (
        {"dataVolume": {"name": volume, "hotpluggable": True}}
        if answer.status == 200
        else {"persistentVolumeClaim": {"claimName": volume, "hotpluggable": True}}
    )
    return orjson.dumps({"name": volume, "disk": disk, "volumeSource": source})


class _Migration(msgspec.Struct):
    completed: bool = False
    endTimestamp: str | None = None


class _Status(msgspec.Struct):
    migrationState: _Migration | None = None


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _Instance(msgspec.Struct):
    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)


def _since(condition: Condition | None, op_s: float, *, later: bool = False) -> bool:
    """Say whether a condition changed at the operation or after it; stamps are whole seconds."""
    if condition is None or condition.lastTransitionTime is None:
        return False
    at_s = epoch_of(condition.lastTransitionTime)
    return at_s > int(op_s) if later else at_s >= int(op_s)


def rule_of(operation: str, op_s: float) -> tuple[str, Rule] | None:
    """Return which kind shows that an operation has taken effect, and when it does; None: it is not waited for.

    Args:
        operation: `kubeVirtOp`.
        op_s: Epoch seconds of the operation.
    """

    def on(check: Callable[[Subject, Callable[[str], Condition | None]], bool]) -> Rule:
        def ready(subject: Subject) -> bool:
            return check(subject, lambda kind: _named(subject, kind))

        return Rule(decode_subject, ready)

    def is_true(found: Condition | None) -> bool:
        return found is not None and found.status == "True"

    def stopped(_: Subject, condition: Callable[[str], Condition | None]) -> bool:
        found = condition("Ready")
        return found is not None and found.status == "False" and found.reason == "VMINotExists" and _since(found, op_s)

    def migrated(instance: _Instance) -> bool:
        state = instance.status.migrationState
        return (
            state is not None
            and state.completed
            and state.endTimestamp is not None
            and epoch_of(state.endTimestamp) >= int(op_s)
        )

    machine = "VirtualMachine"
    if operation == "start":
        return machine, on(lambda _, c: is_true(c("Ready")) and _since(c("Ready"), op_s))
    if operation == "restart":
        return machine, on(lambda _, c: is_true(c("Ready")) and _since(c("Ready"), op_s, later=True))
    if operation == "stop":
        return machine, on(stopped)
    if operation == "pause":
        return machine, on(lambda _, c: is_true(c("Paused")) and _since(c("Paused"), op_s))
    if operation == "unpause":
        return machine, on(lambda _, c: c("Paused") is None)
    if operation == "migrate":
        return "VirtualMachineInstance", Rule(msgspec.json.Decoder(_Instance).decode, migrated)
    return None


def _named(subject: Subject, kind: str) -> Condition | None:
    return next((c for c in subject.status.conditions or () if c.type == kind), None)
