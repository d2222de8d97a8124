"""Configurations: what is read, and that every mistake names its line, its path and the near match."""

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.load.config.load import load_config
from kubedyno.load.config.sources import read_text
from kubedyno.load.plan.template import render_config

GOOD = """
global:
  measurements:
  - name: podLatency
    thresholds:
    - {conditionType: Ready, metric: P99, threshold: 2s}
jobs:
- name: first
  namespace: load
  jobIterations: 3
  qps: 2.5
  burst: 4
  maxWaitTimeout: 1m30s
  podWait: yes
  waitWhenFinished: false
  objects:
  - objectTemplate: a.yml
    inputVars: {n: 3, y: yes, on: 0644, when: 2001-01-01}
- name: second
  jobType: delete
  objects:
  - kind: Pod
    labelSelector: {app: 1}
"""


@pytest.fixture
def load(tmp_path):
    def read(text, **options):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load_config(str(path), render=render_config, **options)

    return read


def refusal(load, text, **options):
    with pytest.raises(KubedynoError) as error:
        load(text, **options)
    return str(error.value)


def test_what_is_given_is_read_and_the_rest_has_kube_burners_defaults(load):
    first, second = load(GOOD).jobs
    assert (first.job_iterations, first.qps, first.burst, first.max_wait_timeout_s) == (3, 2.5, 4, 90.0)
    assert (first.pod_wait, first.wait_when_finished, first.cleanup, first.pre_load_period_s) == (
        True,
        False,
        True,
        600,
    )
    assert first.measurements[0].thresholds[0].limit_ns == 2_000_000_000
    assert (second.qps, second.burst, second.job_iterations) == (5.0, 10, 1)
    assert second.objects[0].label_selector == {"app": "1"}


def test_words_of_variables_stay_text_and_numbers_are_gos(load):
    assert load(GOOD).jobs[0].objects[0].input_vars == {"n": 3, "y": "yes", "on": 420, "when": "2001-01-01"}


def test_1_x_has_other_defaults(load):
    spec = load(GOOD, compat=1)
    assert spec.jobs[0].pre_load_period_s == 60.0
    assert spec.jobs[0].objects[0].replicas == 0
    assert "< 1 iterations" in refusal(load, GOOD.replace("  jobIterations: 3\n", ""), compat=1)


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "near"),
    [
        ("jobIterations: 3", "jobIteration: 3", 10, "jobs[0].jobIteration", "did you mean jobIterations?"),
        ("inputVars:", "inputVar:", 18, "jobs[0].objects[0].inputVar", "did you mean inputVars?"),
        ("global:", "globals:", 2, "globals", "did you mean global?"),
        ("metric: P99", "metrics: P99", 6, "global.measurements[0].thresholds[0].metrics", "did you mean metric?"),
        (
            "jobIterations: 3",
            "jobIterations: 99999999999999999999",
            10,
            "jobs[0].jobIterations",
            "must be at most 9223",
        ),
        ("qps: 2.5", "qps: fast", 11, "jobs[0].qps", "must be a number, not the text 'fast'"),
        ("1m30s", "soon", 13, "jobs[0].maxWaitTimeout", "is no duration"),
        ("podWait: yes", "podWait: maybe", 14, "jobs[0].podWait", "must be true or false"),
        ("jobType: delete", "jobType: delet", 20, "jobs[1].jobType", "did you mean delete?"),
        ("jobType: delete", "jobType: reed", 20, "jobs[1].jobType", "did you mean read?"),
        ("burst: 4", "burst: 4\n  churn: true\n  churnPercent: 101", 14, "jobs[0].churnPercent", "between 0 and 100"),
        ("name: podLatency", "name: jobLatency", 6, "thresholds[0].conditionType", "StartTime, Complete"),
    ],
)
def test_a_mistake_names_its_line_path_and_what_was_meant(load, old, new, line, path, near):
    assert old in GOOD
    message = refusal(load, GOOD.replace(old, new))
    assert f"line {line}:" in message
    assert path in message
    assert near in message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: second", "name: first", "Job names must be unique"),
        ("labelSelector: {app: 1}", "labelSelector: {}", "Empty labelSelectors not allowed with: Pod"),
        ("name: first", "name: First_", "no valid name"),
        ("jobs:", "jobs: []\nold:", "field old not found"),
        ("jobIterations: 3", "jobIterations: {{.N}}", 'executing "" at <.N>: map has no entry for key "N"'),
        ("jobIterations: 3", "jobIterations: {{frob 1}}", 'function "frob" not defined'),
        ("  burst: 4", "  burst: [", "line 1"),
        ("  qps: 2.5", "  qps: 2.5\n  qps: 3", "already set"),
    ],
)
def test_a_wrong_configuration_is_refused(load, old, new, message):
    assert message in refusal(load, GOOD.replace(old, new))


def test_values_come_from_the_environment_then_user_data_then_set(load, tmp_path):
    (tmp_path / "ud.yml").write_text("N: 4\n")
    text = GOOD.replace("jobIterations: 3", "jobIterations: {{.N}}").replace("burst: 4", "burst: {{.B}}")
    spec = load(
        text, env={"N": "2", "B": "7"}, user_data=str(tmp_path / "ud.yml"), set_values=["jobs.0.qps=9,jobs.1.gc=true"]
    )
    assert (spec.jobs[0].job_iterations, spec.jobs[0].burst, spec.jobs[0].qps, spec.jobs[1].gc) == (4, 7, 9.0, True)


def test_set_names_what_is_not_there(load):
    assert "there is no item 7 at jobs" in refusal(load, GOOD, set_values=["jobs.7.qps=1"])
    assert "field qsp not found" in refusal(load, GOOD, set_values=["jobs.0.qsp=1"])


def test_a_long_namespace_is_cut_with_a_warning(load):
    spec = load(GOOD.replace("namespace: load", "namespace: " + "n" * 63))
    assert spec.jobs[0].namespace == "n" * 57
    assert any("truncating" in warning for warning in spec.warnings)


def test_a_directory_and_a_file_that_is_no_text_are_called_so(tmp_path):
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for name, said in ((".", "is a directory; name a file in it"), ("binary", "is no UTF-8 text")):
        with pytest.raises(KubedynoError, match=said):
            read_text(name, "config file", [tmp_path])


def test_a_missing_file_is_one_clear_line():
    with pytest.raises(KubedynoError, match=r"failed to open config file nowhere.yml: open nowhere.yml: no such file"):
        load_config("nowhere.yml", render=render_config)


def test_a_summary_has_a_jobs_own_measurements_in_the_originals_words_and_no_secret(load):
    own = """
  measurements:
  - name: podLatency
    thresholds: [{conditionType: Ready, metric: P99, threshold: 2s}]
  - name: pprof
    pprofInterval: 30s
    pprofTargets: [{name: api, url: https://h/pprof, bearerToken: hidden, key: hidden}]
"""
    job = load(
        "global: {measurements: [{name: jobLatency}]}\njobs:\n- name: first\n  namespace: load\n"
        f"  objects: [{{objectTemplate: a.yml}}]{own}"
    ).jobs[0]
    pods, profiles = job.summary_document(2)["measurements"]
    assert pods == {
        "Name": "podLatency", "PProfTargets": None, "PProfInterval": 0, "PProfDirectory": "", "NodeAffinity": None,
        "LatencyThresholds": [{"ConditionType": "Ready", "Metric": "P99", "Threshold": 2_000_000_000}],
        "ServiceTimeout": 0, "QuantilesIndexer": "", "TimeseriesIndexer": "",
    }  # fmt: skip
    assert profiles["PProfInterval"] == 30_000_000_000
    assert "hidden" not in str(profiles)
    assert "measurements" not in job.summary_document(1)
