"""Recorded runs of kube-burner 1.17.3 and 2.7.3, planned again from their own files: same objects, documents, refusals.

Each folder of runs/ holds a configuration with its templates, the objects that the original created (without the pods
and ReplicaSets that controllers made from them), its documents and its log.
"""

import json
import re
from pathlib import Path

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.load.config.load import load_config
from kubedyno.load.plan.plan import make_plan
from kubedyno.load.plan.template import render_config

RUNS = Path(__file__).parent / "runs"
WRONG = ("config-missing-key", "missing-template", "template-missing-key", "unknown-key-v1")
NAMES = sorted(path.name for path in RUNS.iterdir())
PLANNED = [name for name in NAMES if name not in WRONG]


def recorded(name):
    return json.loads((RUNS / name / "run.json").read_text())


def created(name):
    return [json.loads(line) for line in (RUNS / name / "created.jsonl").read_text().splitlines()]


def compat_of(run):
    return 1 if run["version"].startswith("1.") else 2


def plan_of(name, monkeypatch):
    run = recorded(name)
    monkeypatch.chdir(RUNS / name)
    options = dict(zip(run["arguments"][::2], run["arguments"][1::2], strict=True))
    timeout = options.get("--timeout", "4h")
    spec = load_config(
        options["-c"],
        render=render_config,
        user_data=options.get("--user-data"),
        set_values=[options["--set"]] if "--set" in options else [],
        env=run["environment"],
        compat=compat_of(run),
        uuid=run["uuid"],
        timeout_s={"4h": 4 * 3600.0, "6s": 6.0}[timeout],
    )
    return make_plan(spec, uuid=run["uuid"], runid=runid_of(name), compat=compat_of(run), directory=Path())


def runid_of(name):
    for item in created(name):
        labels = item["metadata"].get("labels", {})
        for key in ("kube-burner.io/runid", "kube-burner-runid"):
            if key in labels:
                return labels[key]
    return "none"


def planned(plan):
    """Return (kind, namespace, name) → body of all objects that create jobs make, in their order."""
    found = {}
    for job in plan.jobs:
        for iteration in range(job.spec.job_iterations):
            for item in job.objects:
                if not item.due(iteration):
                    continue
                for replica in range(1, item.replicas + 1):
                    made = item.render(iteration, replica)
                    scoped = made.kind == "ClusterRole"
                    namespace = "" if scoped else made.namespace or job.namespace_of(iteration)
                    found[made.kind, namespace, made.name] = json.loads(made.body)
    return found


def namespaces(plan):
    return {
        name: job.namespace_labels
        for job in plan.jobs
        if any(item.kind != "ClusterRole" for item in job.objects)
        for name in job.namespaces()
    }


# What churn, patches and the Job controller put on objects after they were created.
LATER = re.compile(r"churn|patched|controller-uid|job-name")


def same_labels(ours, theirs, compat):
    """Ours are theirs, and the other version's family of the same values."""
    theirs = {key: value for key, value in theirs.items() if not LATER.search(key)}
    assert theirs.items() <= ours.items()
    other = "kube-burner-" if compat == 2 else "kube-burner.io/"
    for key in ours.keys() - theirs.keys():
        assert key.startswith(other), key


@pytest.mark.parametrize("name", PLANNED)
def test_a_plan_makes_the_objects_that_kube_burner_made(name, monkeypatch):
    plan = plan_of(name, monkeypatch)
    compat = compat_of(recorded(name))
    ours = planned(plan)
    theirs = {}
    for item in created(name):
        meta = item["metadata"]
        if item["kind"] != "Namespace":
            theirs[item["kind"], meta.get("namespace", ""), meta["name"]] = item
        else:
            labels = {k: v for k, v in meta["labels"].items() if k != "kubernetes.io/metadata.name"}
            same_labels(namespaces(plan)[meta["name"]], labels, compat)
    assert sorted(ours) == sorted(theirs)
    for key, item in theirs.items():
        body = ours[key]
        assert body["apiVersion"] == item["apiVersion"]
        same_labels(body["metadata"]["labels"], item["metadata"]["labels"], compat)
        if name.startswith("patch"):
            # Recorded after the patches; test_live compares what they made.
            continue
        assert body.get("data") == (shown_apart(item.get("data"), body.get("data")))
        if "podTemplateLabels" in item:
            same_labels(body["spec"]["template"]["metadata"]["labels"], item["podTemplateLabels"], compat)
            if item["kind"] == "Job":
                # Its controller chooses the selector.
                continue
            containers = body["spec"]["template"]["spec"]["containers"]
            assert [[c["name"], c["image"]] for c in containers] == item["containers"]
        if "selector" in item:
            assert body["spec"]["selector"] == item["selector"]


def shown_apart(theirs, ours):
    """Random values differ between runs; they must look alike."""
    if not theirs or not ours:
        return theirs
    return {
        key: ours[key]
        if key.startswith("rand") and re.sub("[A-Za-z0-9]", "x", value) == re.sub("[A-Za-z0-9]", "x", ours[key])
        else value
        for key, value in theirs.items()
    }


@pytest.mark.parametrize("name", PLANNED)
def test_a_plan_says_of_its_jobs_what_kube_burners_summary_says(name, monkeypatch):
    documents = json.loads((RUNS / name / "documents.json").read_text()).get("jobSummary", [])
    plan = plan_of(name, monkeypatch)
    compat = compat_of(recorded(name))
    ours = {job.spec.name: job.spec.summary_document(compat) for job in plan.jobs}
    for document in documents:
        config = document["jobConfig"]
        # The original shows measurements in the field names of its own source.
        config.pop("measurements", None)
        assert ours[config["name"]] == config


def test_every_wrong_configuration_is_refused_in_kube_burners_words(monkeypatch):
    for name in WRONG:
        run = recorded(name)
        said = run["errors"][-1]
        fatal = re.search(r'msg="((?:[^"\\]|\\.)*)"', said)
        theirs = fatal[1].replace('\\"', '"') if fatal else said
        theirs = theirs.removeprefix("Config error: ").replace(
            "config file configuration file: line", "config file: line"
        )
        with pytest.raises(KubedynoError) as error:
            plan_of(name, monkeypatch)
        ours = str(error.value).replace("config file: configuration file: \nline", "config file: line")
        assert ours.startswith(theirs), (name, ours)
        assert run["exitCode"] == 1
