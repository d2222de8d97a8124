"""Plans: objects by template, labels, namespaces, and what is wrong with a template said before anything runs."""

import json

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.load.config.spec import (
    ConditionSpec,
    GlobalSpec,
    JobSpec,
    MeasurementSpec,
    ObjectSpec,
    Spec,
    StatusPath,
    WaitSpec,
)
from kubedyno.load.plan.plan import MAX_SHAPES, make_plan

DEPLOYMENT = """
apiVersion: apps/v1
kind: {kind}
metadata:
  name: d-{{{{.Iteration}}}}
spec:
  selector: {{matchLabels: {{app: x}}}}
  template:
    metadata: {{labels: {{app: x, kube-burner.io/job: mine}}}}
    spec: {{containers: [{{name: c, image: "nginx:{{{{.Replica}}}}"}}], initContainers: [{{name: i, image: busybox}}]}}
"""


@pytest.fixture
def plan(tmp_path):
    def make(text, *, compat=2, job=None, **item):
        (tmp_path / "t.yml").write_text(text)
        objects = (ObjectSpec(template="t.yml", **item),)
        spec = JobSpec(**{"name": "j", "namespace": "n", "job_iterations": 3, "objects": objects} | (job or {}))
        return make_plan(Spec(GlobalSpec(), (), (spec,)), uuid="u", runid="r", compat=compat, directory=tmp_path).jobs[
            0
        ]

    return make


def body(job, iteration=0, replica=1, index=0):
    return json.loads(job.objects[index].render(iteration, replica).body)


def test_objects_carry_the_labels_of_both_versions(plan):
    labels = body(plan("kind: Secret\napiVersion: v1\nmetadata: {name: s}"), 2, 5)["metadata"]["labels"]
    assert labels == {
        **{f"kube-burner.io/{key}": value for key, value in OWN.items()},
        **{f"kube-burner-{key}": value for key, value in OWN.items()},
        "kube-burner.io/group": "0",
        "kube-burner.io/job-iteration": "2",
        "kube-burner.io/replica": "5",
    }


OWN = {"job": "j", "uuid": "u", "runid": "r", "index": "0"}


def test_pod_templates_inherit_all_labels_of_the_object_which_win(plan):
    text = DEPLOYMENT.format(kind="Deployment").replace(
        "metadata:\n", 'metadata:\n  labels: {tier: "{{.Iteration}}", kube-burner.io/uuid: own}\n', 1
    )
    for iteration in range(2):
        made = body(plan(text), iteration)
        inner = made["spec"]["template"]["metadata"]["labels"]
        assert inner["kube-burner.io/job"] == "j"
        assert inner["kube-burner.io/runid"] == "r"
        assert inner["app"] == "x"
        assert (inner["tier"], inner["kube-burner.io/uuid"]) == (str(iteration), "own")
        assert made["metadata"]["labels"].items() <= inner.items()
    assert (
        "kube-burner.io/runid"
        not in body(plan(DEPLOYMENT.format(kind="Job")))["spec"]["template"]["metadata"]["labels"]
    )


def test_only_a_statefulset_selects_by_labels_that_were_added(plan):
    selected = {
        kind: "kube-burner.io/runid" in body(plan(DEPLOYMENT.format(kind=kind)))["spec"]["selector"]["matchLabels"]
        for kind in ("StatefulSet", "Deployment", "DaemonSet")
    }
    assert selected == {"StatefulSet": True, "Deployment": False, "DaemonSet": False}


def test_images_to_pull_are_those_of_containers_and_in_1_x_of_init_containers_too(plan):
    assert plan(DEPLOYMENT.format(kind="Deployment")).images == ("nginx:1",)
    assert plan(DEPLOYMENT.format(kind="Deployment"), compat=1).images == ("busybox", "nginx:1")


def test_each_document_is_an_object_with_an_index_of_its_own(plan):
    two = (
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n---\nkind: Secret\napiVersion: v1\nmetadata: {name: b}\n"
    )
    job = plan(two + "---\n---\nkind: Never\n")
    assert [(item.kind, item.index) for item in job.objects] == [("ConfigMap", 0), ("Secret", 1)]
    assert body(job, index=1)["metadata"]["labels"]["kube-burner.io/index"] == "1"
    assert [item.kind for item in plan(two, compat=1).objects] == ["ConfigMap"]


def test_run_once_is_for_the_first_iteration(plan):
    job = plan("kind: A\napiVersion: v1\nmetadata: {name: a}", run_once=True, replicas=2)
    assert [job.objects[0].due(i) for i in range(3)] == [True, False, False]
    assert job.requests == job.objects[0].expected == 2


def test_namespaces_follow_the_iterations(plan):
    text = "kind: A\napiVersion: v1\nmetadata: {name: a}"
    assert plan(text).namespaces() == ["n-0", "n-1", "n-2"]
    assert plan(text, job={"iterations_per_namespace": 2}).namespaces() == ["n-0", "n-1"]
    assert plan(text, job={"namespaced_iterations": False}).namespaces() == ["n"]
    assert plan(text, job={"iterations_per_namespace": 2}).namespace_of(2) == "n-1"


@pytest.mark.parametrize(
    ("namespace", "fixed", "own"),
    [
        ("kube-system", "kube-system", "kube-system"),
        ("x-{{.Iteration}}", "", "x-1"),
        ('{{.Iteration | mul 0 | printf "%d"}}', "", "0"),
    ],
)
def test_a_namespace_is_fixed_unless_it_depends_on_variables(plan, namespace, fixed, own):
    job = plan(f"kind: A\napiVersion: v1\nmetadata: {{name: a, namespace: '{namespace}'}}")
    assert job.objects[0].namespace == fixed
    assert job.outside == [("A", "v1", fixed)]
    assert job.objects[0].render(1, 1).namespace == own


def test_input_variables_win_over_the_built_in_ones(plan):
    job = plan("kind: A\napiVersion: v1\nmetadata: {name: '{{.JobName}}-{{.Iteration}}'}", input_vars={"Iteration": 9})
    assert job.objects[0].render(1, 1).name == "j-9"


def test_missing_variables_are_no_error_where_the_job_says_so(plan):
    text = "kind: A\napiVersion: v1\nmetadata: {name: a}\ndata: {x: '{{.nokey}}'}"
    assert body(plan(text, job={"default_missing_keys_with_zero": True}))["data"] == {"x": "<no value>"}


def test_more_shapes_than_are_remembered_still_make_right_objects(plan):
    job = plan("kind: A\napiVersion: v1\nmetadata: {name: a}\nlist: [{{range until .Iteration}}x,{{end}}]")
    for iteration in (*range(MAX_SHAPES + 20), 3):
        assert len(body(job, iteration)["list"]) == iteration


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kind: A\nx: {{.y}}",
            r'rendering error: template: :2:5: executing "" at <.y>: map has no entry .* \(t.yml line 2\)',
        ),
        ("kind: A\n{{if}}", r"parsing error: template: :2: missing value for if \(t.yml line 2\)"),
        ("a: 1\n\nb: {{uper 1}}", r'function "uper" not defined \(t.yml line 3\); did you mean upper\?'),
        ("apiVersion: v1\nmetadata: {name: a}", r"Error decoding YAML \(t.yml\): Object 'kind' is missing"),
        ("kind: A\nmetadata: {name: a}", r"Object 'apiVersion' is missing"),
        ("kind: A\n  x: 1", r"Error decoding YAML \(t.yml\): .*line 2"),
        ("# nothing", r"makes no object"),
        ("- a", r"document 0 is no mapping"),
    ],
)
def test_a_wrong_template_is_refused_with_its_file_and_line(plan, text, message):
    with pytest.raises(KubedynoError, match=message):
        plan(text)


def test_a_template_is_looked_for_here_then_beside_the_configuration(plan, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert body(plan("kind: A\napiVersion: v1\nmetadata: {name: beside}"))["metadata"]["name"] == "beside"
    (here / "t.yml").write_text("kind: A\napiVersion: v1\nmetadata: {name: here}")
    assert body(plan("kind: A\napiVersion: v1\nmetadata: {name: beside}"))["metadata"]["name"] == "here"


def test_a_template_that_is_nowhere_is_named(plan, tmp_path):
    with pytest.raises(
        KubedynoError,
        match=r"Error reading template no.yml: failed to open config file no.yml: open no.yml: no such file",
    ):
        plan("", job={"objects": (ObjectSpec(template="no.yml"),)})


def test_a_kind_that_changes_from_object_to_object_is_refused(plan):
    job = plan("kind: {{if eq .Iteration 0}}A{{else}}B{{end}}\napiVersion: v1\nmetadata: {name: a}")
    with pytest.raises(KubedynoError, match="makes a B of v1, unlike the A of v1"):
        job.objects[0].render(1, 1)


def test_what_a_template_has_instead_of_containers_is_the_apis_to_refuse(plan):
    assert plan("kind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec: {containers: 3}").images == ()


def test_a_path_that_is_no_jq_is_refused_with_its_place(plan):
    options = WaitSpec(paths=(StatusPath(".a[", "x"),))
    with pytest.raises(KubedynoError, match=r"job j: objects\[0\]\.waitOptions\.customStatusPaths: jq"):
        plan("kind: Pod\napiVersion: v1\nmetadata: {name: p}", wait_options=options)
    moment = MeasurementSpec("conditionLatency", kind="Pod", conditions=(ConditionSpec("up", ".a |", "x"),))
    with pytest.raises(KubedynoError, match="job j: conditionLatency, condition up: jq"):
        plan("kind: Pod\napiVersion: v1\nmetadata: {name: p}", job={"measurements": (moment,)})
