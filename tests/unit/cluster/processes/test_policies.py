"""What NetworkPolicies mean for a pod, by addresses."""

from types import SimpleNamespace

from kubedyno.cluster.processes.policies import FREE, Allowance, Surroundings, Verdicts, verdicts_of
from kubedyno.cluster.processes.services import ServicePort

TCP_80 = (("TCP", 80, 80),)


def made(name, address, namespace="default", **labels):
    return SimpleNamespace(name=name, namespace=namespace, labels=labels, facts=SimpleNamespace(pod_ip=address))


WEB, FRONT, OTHER = (
    made("web", "10.0.0.1", app="web"),
    made("front", "10.0.0.2", app="front"),
    made("other", "10.0.0.3", "elsewhere", app="front"),
)
DNS = made("coredns", "10.0.0.9", "kube-system", **{"k8s-app": "kube-dns"})
AROUND = Surroundings(
    [WEB, FRONT, OTHER, DNS],
    {"default": {}, "elsewhere": {"team": "b"}, "kube-system": {}},
    [ServicePort(("10.96.0.5",), "TCP", 8000, (("10.0.0.1", 80),))],
    "10.96.0.10",
    lambda pod, name: {"http": 80}.get(name, 0) if pod is WEB else 0,
)  # fmt: skip


def verdicts(pod, *specs, namespace="default"):
    return verdicts_of(pod, [(namespace, spec) for spec in specs], AROUND)


def test_a_pod_that_no_policy_selects_is_free():
    spec = {"podSelector": {"matchLabels": {"app": "front"}}, "policyTypes": ["Ingress", "Egress"]}
    assert verdicts(WEB, spec) == FREE
    assert verdicts(WEB, {"podSelector": {}, "policyTypes": ["Ingress"]}, namespace="elsewhere") == FREE


def test_a_policy_without_rules_denies_its_directions_alone():
    assert verdicts(WEB, {"podSelector": {}, "policyTypes": ["Ingress"]}) == Verdicts(ingress=(), egress=None)
    assert verdicts(WEB, {"podSelector": {}, "policyTypes": ["Egress"]}) == Verdicts(ingress=None, egress=())
    assert verdicts(WEB, {"podSelector": {}}) == Verdicts(ingress=())


def test_peers_are_pods_of_the_namespace_of_chosen_namespaces_or_networks():
    def ingress(peer, **more):
        spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [peer], **more}]}
        return verdicts(WEB, spec).ingress

    front = {"matchLabels": {"app": "front"}}
    assert ingress({"podSelector": front}) == (Allowance(("10.0.0.2/32",), (), None),)
    assert ingress({"namespaceSelector": {"matchLabels": {"team": "b"}}}) == (Allowance(("10.0.0.3/32",), (), None),)
    assert ingress({"namespaceSelector": {}, "podSelector": front})[0].networks == ("10.0.0.2/32", "10.0.0.3/32")
    block = {"cidr": "192.168.0.0/16", "except": ["192.168.7.0/24"]}
    assert ingress({"ipBlock": block}) == (Allowance(("192.168.0.0/16",), ("192.168.7.0/24",), None),)
    ports = [{"port": "http"}, {"port": 90, "endPort": 99, "protocol": "UDP"}, {"protocol": "SCTP"}]
    assert ingress({"podSelector": front}, ports=ports)[0].ports == (
        ("TCP", 80, 80), ("UDP", 90, 99), ("SCTP", 0, 65535),
    )  # fmt: skip


def test_a_rule_without_peers_means_everybody():
    assert verdicts(WEB, {"podSelector": {}, "ingress": [{}]}).ingress == (Allowance(("0.0.0.0/0",), (), None),)


def test_who_may_reach_an_endpoint_may_reach_its_service():
    rule = {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}]}
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]}
    assert verdicts(FRONT, spec).egress == (
        Allowance(("10.0.0.1/32",), (), TCP_80),
        Allowance(("10.96.0.5/32",), (), (("TCP", 8000, 8000),)),
    )
    other_port = {**spec, "egress": [{**rule, "ports": [{"port": 81}]}]}
    assert len(verdicts(FRONT, other_port).egress) == 1


def test_the_dns_pods_stand_for_the_address_that_answers():
    rule = {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]}
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]}
    assert verdicts(FRONT, spec).egress[0].networks == ("10.0.0.9/32", "10.96.0.10/32")


def test_policies_add_up():
    first = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "front"}}}]}]}
    second = {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "1.0.0.0/8"}}]}]}
    assert [one.networks for one in verdicts(WEB, first, second).ingress] == [("10.0.0.2/32",), ("1.0.0.0/8",)]
