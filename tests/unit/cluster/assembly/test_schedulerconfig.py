"""KubeSchedulerConfiguration: what it says is what the scheduler does, and what is wrong in it is told with its line."""

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.assembly import kindconfig
from kubedyno.cluster.assembly.schedulerconfig import parse
from kubedyno.cluster.settings import DEFAULT_SCORES, SchedulerProfile, SchedulerSettings
from kubedyno.lab.settings import cluster_settings

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def profile(text):
    settings, warnings = parse(HEAD + "profiles:\n- " + text.replace("\n", "\n  "), "s.yaml")
    assert warnings == []
    return settings.profiles[0]


def test_an_empty_configuration_is_the_default():
    assert parse(HEAD, "s.yaml") == (SchedulerSettings(), [])


def test_times_and_percentage():
    text = "percentageOfNodesToScore: 40\npodInitialBackoffSeconds: 2\npodMaxBackoffSeconds: 30\n"
    settings, _ = parse(HEAD + text, "s.yaml")
    assert settings == SchedulerSettings((SchedulerProfile(percentage=40),), 2.0, 30.0)


def test_plugins_come_and_go():
    made = profile("""schedulerName: packer
plugins:
  multiPoint:
    disabled: [{name: ImageLocality}]
  filter:
    disabled: [{name: TaintToleration}]
  score:
    disabled: [{name: "*"}]
    enabled: [{name: NodeResourcesFit, weight: 5}]
  postFilter:
    disabled: [{name: DefaultPreemption}]
""")
    assert (made.name, made.filters_off, made.scores, made.preempts) == (
        "packer", ("TaintToleration",), (("NodeResourcesFit", 5),), False,
    )  # fmt: skip


def test_arguments_of_plugins():
    made = profile("""pluginConfig:
- name: NodeResourcesFit
  args:
    scoringStrategy:
      type: MostAllocated
      resources: [{name: cpu, weight: 3}, {name: example.com/gpu}]
- name: NodeResourcesBalancedAllocation
  args: {resources: [{name: cpu, weight: 1}]}
- name: InterPodAffinity
  args: {hardPodAffinityWeight: 7}
- name: DefaultPreemption
  args: {minCandidateNodesPercentage: 20, minCandidateNodesAbsolute: 3}
- name: NodeAffinity
  args:
    addedAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions: [{key: a, operator: In, values: [b]}]
""")
    assert (made.strategy, made.resources, made.balanced) == (
        "MostAllocated", (("cpu", 3), ("example.com/gpu", 1)), ("cpu",),
    )  # fmt: skip
    assert (made.hard_pod_affinity_weight, made.min_candidates_percent, made.min_candidates) == (7, 20, 3)
    assert '"key":"a"' in made.added_affinity
    assert made.scores == DEFAULT_SCORES


def test_the_time_for_volumes():
    args = "profiles: [{pluginConfig: [{name: VolumeBinding, args: {bindTimeoutSeconds: 30}}]}]\n"
    assert parse(HEAD + args, "s.yaml")[0].bind_timeout_s == 30.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profile: []", r"s.yaml:3: profile is unknown; did you mean profiles\?"),
        ("profiles: [{schedulerNam: a}]", "is unknown; did you mean schedulerName"),
        ("profiles: [{schedulerName: a}, {schedulerName: a}]", "each profile needs its own"),
        ("profiles: [{plugins: {filter: {disabled: [{name: TaintTolerations}]}}}]", "did you mean TaintToleration"),
        ("profiles: [{plugins: {filter: {enabled: [{name: '*'}]}}}]", "needs the name of a plugin"),
        ("profiles: [{plugins: {filters: {}}}]", "did you mean filter"),
        ("profiles: [{pluginConfig: [{args: {}}]}]", "needs the name of a plugin"),
        ("extenders: [{urlPrefix: http://x}]", "cannot be served"),
        ("percentageOfNodesToScore: 101", "between 0 and 100"),
        ("podInitialBackoffSeconds: 20", "must not be less than"),
        (
            "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Most}}}]}]",
            "must be one of LeastAllocated, MostAllocated",
        ),
        (
            (
                "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: "
                "{type: RequestedToCapacityRatio}}}]}]"
            ),
            "needs requestedToCapacityRatio.shape",
        ),
        (
            (
                "profiles: [{pluginConfig: [{name: NodeAffinity, args: {addedAffinity: "
                "{requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}}]}]"
            ),
            "addedAffinity is wrong: ",
        ),
    ],
)
def test_what_is_wrong_is_told(text, words):
    with pytest.raises(KubedynoError, match=words):
        parse(HEAD + text + "\n", "s.yaml")


@pytest.mark.parametrize("text", ["a: b\n", "[]\n", "kind: KubeSchedulerConfiguration\napiVersion: v1\n"])
def test_what_is_no_configuration_is_told(text):
    with pytest.raises(KubedynoError, match=r"s\.yaml:"):
        parse(text, "s.yaml")


def test_what_means_nothing_here_is_told():
    text = (
        "leaderElection: {leaderElect: false}\nprofiles: [{plugins: {permit: {enabled: [{name: GangScheduling}]}}}]\n"
    )
    _, warnings = parse(HEAD + text, "s.yaml")
    assert [w.partition(" (")[0] for w in warnings] == ["leaderElection", "profiles[0].plugins.permit.enabled[0]"]


KIND = """kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  extraMounts:
  - hostPath: {host}
    containerPath: /etc/kubernetes/scheduler
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  scheduler:
    extraArgs:
      config: /config/s.yaml
    extraVolumes:
    - name: config
      hostPath: /etc/kubernetes/scheduler
      mountPath: /config
"""


def test_a_kind_configuration_brings_one_along(tmp_path):
    (tmp_path / "s.yaml").write_text(HEAD + "profiles: [{schedulerName: packer}]\n")
    settings, _ = kindconfig.parse(KIND.replace("{host}", str(tmp_path)), "kind.yaml")
    assert [made.name for made in settings.scheduler.profiles] == ["packer"]
    with pytest.raises(KubedynoError, match=r"kind.yaml:.*which no extraMounts of a control-plane node brings in"):
        kindconfig.parse(KIND.replace("{host}", "/x").replace("Path: /etc", "Path: /elsewhere", 1), "kind.yaml")


def test_flags(tmp_path):
    (tmp_path / "s.yaml").write_text(HEAD + "profiles: [{schedulerName: packer}]\n")
    settings, _ = cluster_settings(scheduler_config=tmp_path / "s.yaml", feature_gates="A=true, B=false")
    assert settings.scheduler.profiles[0].name == "packer"
    assert settings.feature_gates == {"A": True, "B": False}
    with pytest.raises(KubedynoError, match="cannot be read"):
        cluster_settings(scheduler_config=tmp_path / "none.yaml")
    with pytest.raises(KubedynoError, match="--feature-gates A: write NAME=true"):
        cluster_settings(feature_gates="A")
