"""The tests of `cilium connectivity test` that need more than Kubernetes, in its order, and what each needs. Pure.

They are told as skipped, with the reason, so that nobody takes their absence for a success. Names are those of Cilium 1.18.
"""

_CNP = "needs CiliumNetworkPolicies"
_L7 = "needs CiliumNetworkPolicies and Cilium's L7 proxy"
_OUTSIDE = "needs a client outside of the cluster"
_MESH = "needs a cluster mesh"
_AGENT = "asks Cilium's agents"
_ENCRYPTION = "needs Cilium's encryption"
_GATEWAY = "needs Cilium's egress gateway"
_INGRESS = "needs Cilium's ingress controller"
_REDIRECT = "needs CiliumLocalRedirectPolicies"
_BGP = "needs Cilium's BGP control plane"
_FIREWALL = "needs Cilium's host firewall"
_RANGE = "-port-range"

# What needs the same: (reason, names); names that end with + have a twin with a range of ports.
_GROUPS: tuple[tuple[str, str], ...] = (
    ("", "no-policies"),
    (_OUTSIDE, "no-policies-from-outside"),
    ("", "no-policies-extra"),
    (_CNP, "allow-all-except-world client-ingress"),
    ("", "client-ingress-knp"),
    (_AGENT, "allow-all-with-metrics-check"),
    (_CNP, "all-ingress-deny all-ingress-deny-from-outside"),
    ("", "all-ingress-deny-knp"),
    (_CNP, "all-egress-deny"),
    ("", "all-egress-deny-knp"),
    (_CNP, "all-entities-deny cluster-entity"),
    (_MESH, "cluster-entity-multi-cluster"),
    (_CNP, "host-entity-egress host-entity-ingress echo-ingress echo-ingress-from-outside"),
    ("", "echo-ingress-knp"),
    (_CNP, "client-ingress-icmp client-egress"),
    ("", "client-egress-knp"),
    (_CNP, "client-egress-expression+"),
    ("", "client-egress-expression-knp+"),
    (_CNP, "client-with-service-account-egress-to-echo+ client-egress-to-echo-service-account+ to-entities-world+"),
    (_CNP, "to-cidr-external"),
    ("", "to-cidr-external-knp"),
    (_CNP, "seq-from-cidr-host-netns echo-ingress-from-other-client-deny client-ingress-from-other-client-icmp-deny"),
    (_CNP, "client-egress-to-echo-deny+ client-ingress-to-echo-named-port-deny client-egress-to-echo-expression-deny+"),
    (_CNP, "client-with-service-account-egress-to-echo-deny+ client-egress-to-echo-service-account-deny+"),
    (_CNP, "client-egress-to-cidr-deny client-egress-to-cidrgroup-deny client-egress-to-cidrgroup-deny-by-label"),
    (_CNP, "client-egress-to-cidr-deny-default"),
    (_MESH, "clustermesh-endpointslice-sync"),
    (_AGENT, "health"),
    (_OUTSIDE, "north-south-loadbalancing"),
    (_ENCRYPTION, "pod-to-pod-encryption pod-to-pod-with-l7-policy-encryption pod-to-pod-encryption-v2"),
    (_ENCRYPTION, "pod-to-pod-with-l7-policy-encryption-v2 node-to-node-encryption"),
    (_GATEWAY, "seq-egress-gateway seq-egress-gateway-multigateway egress-gateway-excluded-cidrs"),
    (_GATEWAY, "seq-egress-gateway-with-l7-policy"),
    (_CNP, "pod-to-node-cidrpolicy"),
    (_OUTSIDE, "north-south-loadbalancing-with-l7-policy+"),
    (_L7, "echo-ingress-l7 echo-ingress-l7-via-hostport echo-ingress-l7-named-port client-egress-l7-method+"),
    (_L7, "client-egress-l7+ client-egress-l7-named-port client-egress-tls-sni client-egress-tls-sni-denied"),
    (_L7, "client-egress-l7-tls-headers-sni client-egress-l7-set-header+"),
    ("needs Cilium's mutual authentication", "echo-ingress-auth-always-fail+ echo-ingress-mutual-auth-spiffe+"),
    (_INGRESS, "pod-to-ingress-service pod-to-ingress-service-deny-all pod-to-ingress-service-deny-ingress-identity"),
    (_INGRESS, "pod-to-ingress-service-deny-backend-service pod-to-ingress-service-allow-ingress-identity"),
    (_INGRESS, "outside-to-ingress-service outside-to-ingress-service-deny-world-identity"),
    (_INGRESS, "outside-to-ingress-service-deny-cidr outside-to-ingress-service-deny-all-ingress l7-lb"),
    ("", "dns-only"),
    ("needs CiliumNetworkPolicies with names of DNS", "to-fqdns to-fqdns-with-proxy"),
    (_CNP, "pod-to-controlplane-host pod-to-k8s-on-controlplane pod-to-controlplane-host-cidr"),
    (_CNP, "pod-to-k8s-on-controlplane-cidr"),
    (_MESH, "policy-local-cluster-egress"),
    (_REDIRECT, "local-redirect-policy local-redirect-policy-with-node-dns"),
    ("", "pod-to-k8s pod-to-pod-no-frag"),
    (_BGP, "seq-bgp-control-plane-v1 seq-bgp-control-plane-v2"),
    ("needs Cilium's multicast", "multicast"),
    (_ENCRYPTION, "strict-mode-encryption strict-mode-encryption-v2"),
    (_FIREWALL, "host-firewall-ingress host-firewall-egress"),
    (_L7, "seq-client-egress-l7-tls-deny-without-headers seq-client-egress-l7-tls-headers+"),
    (_L7, "seq-client-egress-l7-extra-tls-headers"),
    (_AGENT, "no-unexpected-packet-drops check-log-errors"),
)


def _names() -> dict[str, str]:
    found: dict[str, str] = {}
    for why, words in _GROUPS:
        for word in words.split():
            name = word.removesuffix("+")
            found[name] = why
            if name != word:
                found[name + _RANGE] = why
    return found


# Every test in order → what it needs that a cluster without Cilium has not, "" for those that are run.
NEEDS = _names()
