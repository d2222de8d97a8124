"""kind configurations: what acts, what is warned of, and what is refused with its place."""

from pathlib import Path

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.assembly.kindconfig import parse

STUDY = Path(__file__).parents[4] / "examples" / "study"
HEAD = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"


def settings(body, name=None):
    parsed, warnings = parse(HEAD + body, "kind.yaml", name=name)
    assert warnings == []
    return parsed


def warnings(body):
    return parse(HEAD + body, "kind.yaml")[1]


def refusal(text):
    with pytest.raises(KubedynoError) as caught:
        parse(text, "kind.yaml")
    return str(caught.value)


def test_the_study_s_plain_cluster_acts_as_written():
    parsed, said = parse((STUDY / "kind-plain.yaml").read_text(), "kind-plain.yaml", name="myk8s")
    assert said == []
    assert [node.name for node in parsed.nodes] == ["myk8s-control-plane"]
    assert parsed.nodes[0].port_mappings == ((30000, 30000), (30001, 30001), (30002, 30002), (30003, 30003))
    assert parsed.bind_addresses == dict.fromkeys(("controller-manager", "scheduler", "etcd", "kube-proxy"), "0.0.0.0")
    assert (parsed.cni, parsed.kube_proxy_mode, parsed.node_cidr_mask) == ("kindnet", "iptables", 24)


def test_the_study_s_cilium_cluster_acts_as_written():
    parsed, said = parse((STUDY / "kind-cilium.yaml").read_text(), "kind-cilium.yaml")
    assert said == []
    assert (parsed.cni, parsed.kube_proxy_mode, parsed.pod_subnet) == ("none", "none", "10.244.0.0/16")
    assert (parsed.allocate_node_cidrs, parsed.node_cidr_mask) == (True, 22)


def test_roles_and_names_are_kind_s():
    parsed = settings("name: x\nnodes:\n- role: control-plane\n- role: worker\n- role: worker\n- role: control-plane\n")
    assert [node.name for node in parsed.nodes] == ["x-control-plane", "x-worker", "x-worker2", "x-control-plane2"]
    assert [node.control_plane for node in parsed.nodes] == [True, False, False, True]
    assert settings("name: x\n", name="y").nodes[0].name == "y-control-plane"


@pytest.mark.parametrize(
    "image", ["kindest/node:v1.33.2", "kindest/node:v1.33.2@sha256:ab", "localhost:5000/node:1.33"]
)
def test_the_image_names_the_version(image):
    assert settings(f"nodes:\n- image: {image}\n").version == "1.33"


def test_another_patch_version_than_the_one_served_is_told():
    parsed, (line,) = parse(HEAD + "nodes:\n- image: kindest/node:v1.34.9\n", "kind.yaml")
    assert parsed.version == "1.34"
    assert line == "nodes[0].image (line 4) names v1.34.9; v1.34.1 is what the cluster says it is"


def test_max_pods_come_from_the_cluster_s_patch_and_a_node_s_own_wins():
    patch = "kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  maxPods: 150\n"
    own = "  kubeadmConfigPatches:\n  - |\n    kind: KubeletConfiguration\n    maxPods: 400\n"
    parsed = settings(f"{patch}nodes:\n- role: control-plane\n- role: worker\n{own}")
    assert [node.max_pods for node in parsed.nodes] == [150, 400]


def test_services_may_have_addresses_of_both_families():
    parsed, _ = parse(HEAD + "networking: {ipFamily: dual}\n", "kind.yaml", name=None)
    assert parsed.service_subnets == ("10.96.0.0/16", "fd00:10:96::/112")
    both = "networking: {serviceSubnet: '10.1.0.0/16,fd00::/112'}\n"
    assert settings(both).service_subnets == ("10.1.0.0/16", "fd00::/112")


def test_extra_arguments_may_be_a_list_of_name_and_value():
    patch = (
        "kubeadmConfigPatches:\n- |\n  kind: ClusterConfiguration\n  controllerManager:\n    extraArgs:\n"
        '    - name: node-cidr-mask-size\n      value: "25"\n'
    )
    assert settings(patch).node_cidr_mask == 25


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("nodes:\n- extraMounts: [{hostPath: /a, containerPath: /b}]\n", "nodes[0].extraMounts"),
        ("containerdConfigPatches: ['x']\n", "containerdConfigPatches"),
        ("networking: {ipFamily: dual}\n", "networking.ipFamily"),
        ("networking: {ipFamily: ipv6}\n", "networking.ipFamily"),
        ("networking: {apiServerAddress: 0.0.0.0}\n", "networking.apiServerAddress"),
        (
            "kubeadmConfigPatches:\n- |\n  kind: ClusterConfiguration\n  apiServer:\n    extraArgs:\n      v: '4'\n",
            "kubeadmConfigPatches[0].apiServer.extraArgs.v",
        ),
    ],
)
def test_what_has_no_meaning_here_is_a_warning_that_names_it(body, named):
    (line,) = warnings(body)
    assert line.startswith(f"{named} (line ")


def test_versions_of_apis_are_taken_as_the_real_server_takes_them():
    body = "runtimeConfig: {api/beta: 'true', batch/v1: false}\n"
    assert settings(body).runtime_config == {"api/beta": True, "batch/v1": False}
    patch = "kubeadmConfigPatches:\n- |\n  kind: ClusterConfiguration\n  apiServer:\n    extraArgs:\n"
    assert settings(patch + "      runtime-config: api/beta=true\n").runtime_config == {"api/beta": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "runtimeConfig: {foo.io/v1: 'true'}\n", "kind.yaml:3: runtimeConfig: unknown api groups foo.io"),
        (HEAD + "nodes:\n- rol: worker\n", "kind.yaml:4: nodes[0].rol is unknown; did you mean role?"),
        (HEAD + "node: []\n", "kind.yaml:3: node is unknown; did you mean nodes?"),
        (
            HEAD + "nodes:\n- role: woker\n",
            "kind.yaml:4: nodes[0].role is 'woker', must be one of control-plane, worker",
        ),
        (HEAD + "nodes:\n- role: worker\n", "kind.yaml:3: nodes must have a node with role control-plane"),
        (HEAD + "networking: {podSubnet: 10.244.0.0/33}\n", "kind.yaml:3: networking.podSubnet is no subnet"),
        (HEAD + "nodes:\n- image: kindest/node:v1.12.0\n", "names Kubernetes 1.12; supported are 1.33"),
        (
            HEAD + "kubeadmConfigPatches:\n- |\n  kind: ClusterConfiguration\n  controllerManager:\n"
            "    extraArgs:\n      node-cidr-mask-sze: '22'\n",
            "sets --node-cidr-mask-sze, which controller-manager does not know; did you mean node-cidr-mask-size?",
        ),
        (
            HEAD + "kubeadmConfigPatches:\n- |\n  kind: ClusterConfiguration\n  scheduler:\n    extraArg: {}\n",
            "kind.yaml:7: kubeadmConfigPatches[0].scheduler.extraArg is unknown; did you mean extraArgs?",
        ),
        (HEAD + "kubeadmConfigPatches:\n- |\n  kind: KubeletConfig\n", "did you mean KubeletConfiguration?"),
        (
            HEAD + "kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  maxPod: 9\n",
            "kind.yaml:6: kubeadmConfigPatches[0].maxPod is unknown; did you mean maxPods?",
        ),
        ("kind: Pod\n", "kind is 'Pod', must be Cluster"),
        ("kind: Cluster\n", "apiVersion is None, must be kind.x-k8s.io/v1alpha4"),
        ("[", "kind.yaml"),
        ("", "holds no kind configuration"),
        (
            HEAD + "networking: {podSubnet: 10.244.0.0/24}\nkubeadmConfigPatches:\n- |\n  kind: ClusterConfiguration\n"
            "  controllerManager: {extraArgs: {node-cidr-mask-size: '22'}}\n",
            "node-cidr-mask-size 22 is larger than podSubnet 10.244.0.0/24",
        ),
    ],
)
def test_what_is_misspelt_or_wrong_is_an_error_with_its_place(text, expected):
    assert expected in refusal(text)


def test_one_node_s_kubelet_arguments_all_count_and_win_over_the_cluster_s_file():
    parsed = settings(
        """nodes:
- role: control-plane
- role: worker
  kubeadmConfigPatches:
  - |
    kind: JoinConfiguration
    nodeRegistration:
      kubeletExtraArgs:
        max-pods: "50"
        node-labels: "tier=front"
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  maxPods: 200
"""
    )
    assert [node.max_pods for node in parsed.nodes] == [200, 50]
    assert parsed.nodes[1].labels == (("tier", "front"),)


def test_the_audit_log_is_put_aside_as_the_api_servers_flags_say():
    arguments = "{audit-log-path: /a.log, audit-log-maxsize: '5', audit-log-maxage: '2', audit-log-maxbackup: '3'}"
    patch = f"kubeadmConfigPatches:\n- |\n  kind: ClusterConfiguration\n  apiServer: {{extraArgs: {arguments}}}\n"
    parsed, _ = parse(HEAD + patch, "kind.yaml")
    assert (parsed.audit_maxsize_mb, parsed.audit_maxage_days, parsed.audit_maxbackup) == (5, 2, 3)
    with pytest.raises(KubedynoError, match="audit-log-maxage"):
        parse(HEAD + patch.replace("'2'", "two"), "kind.yaml")
