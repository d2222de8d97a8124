"""KubeVirt operations: requests, and when each has taken effect, over object timelines."""

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.load.engine.kubevirt import request_of, rule_of

T0 = 1_790_000_000  # 2026-09-21T14:13:20Z
MACHINE = {"metadata": {"name": "vm", "namespace": "n"}}
SUB = "/apis/subresources.kubevirt.io/v1/namespaces/n"


class Answers:
    """A client that knows one DataVolume."""

    async def request(self, _method, path):
        status = 200 if path.endswith("/datavolumes/dv") else 404
        return type("Result", (), {"status": status})


def request(operation, **values):
    return aio.run(request_of(Answers(), operation, MACHINE, values, "job", 3, {"a": "b"}))


@pytest.mark.parametrize(
    ("operation", "values", "path", "body"),
    [
        ("start", {"startPaused": True}, f"{SUB}/virtualmachines/vm/start", {"paused": True}),
        ("start", {}, f"{SUB}/virtualmachines/vm/start", {"paused": False}),
        ("stop", {"force": "true"}, f"{SUB}/virtualmachines/vm/stop", {"gracePeriod": 0}),
        ("restart", {}, f"{SUB}/virtualmachines/vm/restart", {}),
        ("pause", {}, f"{SUB}/virtualmachineinstances/vm/pause", {}),
        ("remove-volume", {"volumeName": "v"}, f"{SUB}/virtualmachineinstances/vm/removevolume", {"name": "v"}),
        (
            "add-volume",
            {"volumeName": "dv", "persist": True, "diskType": "lun", "cache": "none"},
            f"{SUB}/virtualmachines/vm/addvolume",
            {
                "name": "dv",
                "disk": {"name": "dv", "serial": "dv", "lun": {"bus": "scsi"}, "cache": "none"},
                "volumeSource": {"dataVolume": {"name": "dv", "hotpluggable": True}},
            },
        ),
    ],
)
def test_an_operation_is_one_request_to_a_subresource(operation, values, path, body):
    method, where, sent = request(operation, **values)
    assert (method, where, orjson.loads(sent)) == ("PUT", path, body)


def test_a_migration_is_created_with_the_runs_labels():
    method, path, sent = request("migrate")
    assert (method, path) == ("POST", "/apis/kubevirt.io/v1/namespaces/n/virtualmachineinstancemigrations")
    body = orjson.loads(sent)
    assert body["metadata"] == {"generateName": "vm-job-3-", "labels": {"a": "b"}}
    assert body["spec"] == {"vmiName": "vm"}


def test_volumes_need_a_name_and_known_words():
    with pytest.raises(KubedynoError, match="volumeName"):
        request("add-volume")
    with pytest.raises(KubedynoError, match="diskType"):
        request("add-volume", volumeName="v", diskType="floppy")
    _, _, sent = request("add-volume", volumeName="claim")
    assert orjson.loads(sent)["volumeSource"] == {"persistentVolumeClaim": {"claimName": "claim", "hotpluggable": True}}


def ready(operation, status, op_s=T0 + 5.7):
    _, rule = rule_of(operation, op_s)
    return rule.is_ready(rule.decode(orjson.dumps({"metadata": {"name": "vm"}, "status": status})))


def condition(name, value, second, reason=""):
    stamp = f"2026-09-21T14:13:{20 + second:02d}Z"
    return {"conditions": [{"type": name, "status": value, "lastTransitionTime": stamp, "reason": reason}]}


@pytest.mark.parametrize(
    ("operation", "status", "done"),
    [
        ("start", condition("Ready", "True", 5), True),
        ("start", condition("Ready", "True", 4), False),
        ("start", condition("Ready", "False", 6), False),
        ("start", {}, False),
        # Within the same second it may be the machine from before.
        ("restart", condition("Ready", "True", 5), False),
        ("restart", condition("Ready", "True", 6), True),
        ("stop", condition("Ready", "False", 6, "VMINotExists"), True),
        ("stop", condition("Ready", "False", 6, "Stopping"), False),
        ("pause", condition("Paused", "True", 6), True),
        ("unpause", condition("Paused", "True", 1), False),
        ("unpause", condition("Ready", "True", 1), True),
        ("migrate", {"migrationState": {"completed": True, "endTimestamp": "2026-09-21T14:13:26Z"}}, True),
        ("migrate", {"migrationState": {"completed": True, "endTimestamp": "2026-09-21T14:13:21Z"}}, False),
        ("migrate", {"migrationState": {"completed": False}}, False),
    ],
)
def test_an_operation_has_taken_effect_only_after_it_was_asked_for(operation, status, done):
    assert ready(operation, status) is done


def test_volumes_are_not_waited_for():
    assert rule_of("add-volume", T0) is None
