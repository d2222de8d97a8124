"""What Go's structs write when nothing is set, and how Go prints their types."""

import pytest

from kubedyno.kube import protobuf
from kubedyno.kube.gostructs import go_path, json_members_of, members_of, shown, zero
from kubedyno.kube.resources import vocabulary


def test_every_field_of_the_vocabulary_is_a_member_of_its_struct():
    unknown = {
        (name, field)
        for name, entry in vocabulary()["types"].items()
        for field in entry["f"]
        if field not in json_members_of(name)
    }
    assert {name for name, _ in unknown} == {"version.Info"}


@pytest.mark.parametrize(
    ("struct", "written"),
    [
        ("policy.v1.PodDisruptionBudgetStatus", {"disruptionsAllowed": 0, "expectedPods": 0}),
        ("meta.v1.Condition", {"message": "", "lastTransitionTime": None}),
        ("core.v1.ContainerStatus", {"name": "", "ready": False, "restartCount": 0, "state": {}}),
        ("rbac.v1.ClusterRole", {"metadata": {}, "rules": None}),
        ("resource.v1.Counter", {"value": "0"}),
    ],
)
def test_a_zero_value_has_what_is_not_omitted(struct, written):
    assert zero(struct).items() >= written.items()


def test_a_zero_value_lacks_what_is_omitted():
    assert zero("meta.v1.ObjectMeta") == {}
    assert zero("batch.v1.JobStatus") == {}
    assert "rules" not in zero("rbac.v1.ClusterRole", containers=False)


@pytest.mark.parametrize(
    ("struct", "name", "text"),
    [
        ("core.v1.PodSpec", "restartPolicy", "v1.RestartPolicy"),
        ("core.v1.PodSpec", "terminationGracePeriodSeconds", "int64"),
        ("core.v1.PodSpec", "containers", "[]v1.Container"),
        ("core.v1.ResourceRequirements", "limits", "v1.ResourceList"),
        ("core.v1.PersistentVolumeClaimSpec", "accessModes", "[]v1.PersistentVolumeAccessMode"),
        ("meta.v1.ObjectMeta", "labels", "map[string]string"),
        ("meta.v1.APIResource", "verbs", "v1.Verbs"),
    ],
)
def test_types_are_printed_as_go_does(struct, name, text):
    assert json_members_of(struct)[name].text == text


def test_members_come_in_the_order_of_the_source():
    assert [member.go_name for member in members_of("core.v1.Volume")] == ["Name", "VolumeSource"]
    assert "emptyDir" in json_members_of("core.v1.Volume")


def test_zero_values_behind_pointers_outlive_protobuf():
    status = {"ready": 0, "terminating": 0, "failedIndexes": ""}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "status": status}
    assert protobuf.decode(protobuf.encode(job))["status"] == status


def test_field_errors_show_the_internal_struct_with_all_its_members():
    reference = shown("networking.v1.ParentReference", {"resource": "services", "name": "n"})
    assert reference == {"Group": "", "Resource": "services", "Namespace": "", "Name": "n"}
    claim = shown("resource.v1.ResourceClaimSpec", {"devices": {"requests": [{"name": "r"}]}})
    assert claim == {
        "Devices": {
            "Requests": [{"Name": "r", "Exactly": None, "FirstAvailable": None}], "Constraints": None, "Config": None,
        }
    }  # fmt: skip
    assert shown("core.v1.ObjectReference", None) is None
    sources = [*(shown("core.v1.PersistentVolumeSpec", {}) or {})]
    assert sources.index("Quobyte") == sources.index("RBD") + 1


def test_paths_of_wrong_types_name_embedded_structs():
    assert go_path("networking.v1.Ingress", "spec.rules.http.paths") == "spec.rules.IngressRuleValue.http.paths"
    rule = "spec.matchConstraints.resourceRules"
    assert go_path("admissionregistration.v1.ValidatingAdmissionPolicy", f"{rule}.apiGroups") == (
        f"{rule}.RuleWithOperations.Rule.apiGroups"
    )
