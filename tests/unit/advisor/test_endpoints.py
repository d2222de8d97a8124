"""Endpoints to EndpointSlices and back; who uses Endpoints."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.advisor import endpoints, endpointusers
from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml

GOLDEN = Path(__file__).parents[2] / "golden" / "advisor"


def an(*subsets: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "svc", **metadata}, "subsets": list(subsets),
    }  # fmt: skip


def addresses(*ips: str) -> list[dict[str, Any]]:
    return [{"ip": ip} for ip in ips]


def test_the_studys_pair() -> None:
    made = endpoints.convert_text((GOLDEN / "endpoints.yaml").read_text(), "endpoints.yaml")
    assert made.text == (GOLDEN / "endpointslice.yaml").read_text()
    assert (made.count, made.slices) == (1, 1)


def test_families_and_port_sets_have_slices_of_their_own() -> None:
    http, https = [{"name": "http", "port": 80}], [{"name": "https", "port": 443}]
    made = endpoints.slices_of(
        an(
            {"addresses": addresses("10.0.0.1", "fd00::1"), "ports": http},
            {"addresses": addresses("10.0.0.2"), "ports": https},
        )
    )
    assert [(one["metadata"]["name"], one["addressType"], one["ports"]) for one in made] == [
        ("svc", "IPv4", http), ("svc-2", "IPv6", http), ("svc-3", "IPv4", https),
    ]  # fmt: skip


def test_subsets_with_the_same_ports_share_a_slice_whatever_their_order() -> None:
    ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
    made = endpoints.slices_of(
        an(
            {"addresses": addresses("10.0.0.1"), "ports": ports},
            {"addresses": addresses("10.0.0.2"), "ports": ports[::-1]},
        )
    )
    assert [len(one["endpoints"]) for one in made] == [2]


def test_more_than_a_hundred_endpoints_are_parted() -> None:
    made = endpoints.slices_of(an({"addresses": addresses(*(f"10.0.{n // 250}.{n % 250 + 1}" for n in range(250)))}))
    assert [len(one["endpoints"]) for one in made] == [100, 100, 50]
    assert len({one["metadata"]["name"] for one in made}) == 3


def test_not_ready_addresses_and_their_parts_are_kept() -> None:
    target = {"kind": "Pod", "name": "p"}
    made = endpoints.slices_of(
        an({"notReadyAddresses": [{"ip": "10.0.0.1", "hostname": "h", "nodeName": "n", "targetRef": target}]})
    )
    assert made[0]["endpoints"] == [
        {
            "addresses": ["10.0.0.1"],
            "nodeName": "n",
            "hostname": "h",
            "targetRef": target,
            "conditions": {"ready": False},
        }
    ]


def test_an_address_that_is_ready_somewhere_is_ready() -> None:
    made = endpoints.slices_of(an({"notReadyAddresses": addresses("10.0.0.1")}, {"addresses": addresses("10.0.0.1")}))
    assert [endpoint["conditions"] for endpoint in made[0]["endpoints"]] == [{"ready": True}]


def test_labels_are_copied_and_the_controllers_own_are_not() -> None:
    made = endpoints.slices_of(
        an(
            labels={"app": "x", endpoints.SKIP_MIRROR: "true"},
            annotations={endpoints.OVER_CAPACITY: "truncated", "a": "b"},
        )
    )
    assert made[0]["metadata"] == {
        "name": "svc", "labels": {"app": "x", endpoints.SERVICE_NAME: "svc"}, "annotations": {"a": "b"},
    }  # fmt: skip


def test_cut_off_endpoints_are_told() -> None:
    assert "cut off at 1000" in endpoints.notes_of(an(annotations={endpoints.OVER_CAPACITY: "truncated"}))[0]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (an({"addresses": [{"ip": "example.org"}]}), "'example.org' is no address"),
        (an(annotations={endpoints.LEADER: "{}"}), "use a Lease"),
        ({"apiVersion": "v1", "kind": "Endpoints"}, "without metadata.name"),
    ],
)
def test_what_has_no_slices_is_one_line(document: dict[str, Any], said: str) -> None:
    with pytest.raises(KubedynoError) as caught:
        endpoints.convert_text(json.dumps(document), "e.json")
    assert str(caught.value).startswith("e.json:1: ")
    assert said in str(caught.value)


def test_other_documents_keep_every_byte() -> None:
    before = "# of the file\nkind: Service   # mine\nspec: {a: [1,2]}\n---\n"
    after = "---\n# last\nx:   y\n"
    middle = "# of the endpoints\napiVersion: v1\nkind: Endpoints\nmetadata: {name: svc}\n"
    made = endpoints.convert_text(before + middle + after, "f.yaml")
    assert made.text.startswith(before)
    assert made.text.endswith(after)
    assert [document.get("kind") for document in yaml.load_all(made.text)] == ["Service", "EndpointSlice", None]
    assert "# of the endpoints\n" in made.text


def test_endpoints_within_a_list_are_replaced() -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [{"kind": "Service"}, an()]})
    made = yaml.load(endpoints.convert_text(text, "l.json").text)
    assert [item["kind"] for item in made["items"]] == ["Service", "EndpointSlice"]


ips = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
ports = st.lists(
    st.fixed_dictionaries(
        {"port": st.integers(1, 65_535)},
        optional={"name": st.sampled_from(["a", "b"]), "protocol": st.just("UDP"), "appProtocol": st.just("h2c")},
    ),
    max_size=2,
)


def port_set(found: list[dict[str, Any]]) -> str:
    return repr(sorted(json.dumps(port, sort_keys=True) for port in found))


@st.composite
def subsets(draw: Any) -> list[dict[str, Any]]:
    found = draw(st.lists(ports, max_size=3, unique_by=port_set))
    result = []
    for entry in found:
        pool = draw(st.lists(ips, min_size=1, max_size=8, unique=True))
        cut = draw(st.integers(0, len(pool)))
        subset = {
            "addresses": [{"ip": ip, "nodeName": f"n{number}"} for number, ip in enumerate(pool[:cut])],
            "notReadyAddresses": addresses(*pool[cut:]),
            "ports": entry,
        }
        result.append({field: value for field, value in subset.items() if value})
    return result


def shape(document: dict[str, Any]) -> set[tuple[str, str, str, str]]:
    return {
        (port_set(subset.get("ports", [])), field, address["ip"], address.get("nodeName", ""))
        for subset in document.get("subsets", ())
        for field in ("addresses", "notReadyAddresses")
        for address in subset.get(field, ())
    }


@given(subsets(), st.integers(1, 5))
@settings(max_examples=200)
def test_slices_say_what_the_endpoints_said_and_lead_back_to_them(found: list[dict[str, Any]], limit: int) -> None:
    before = an(*found, labels={"app": "x"})
    slices = endpoints.slices_of(before, limit=limit)
    after = endpoints.endpoints_of(slices)
    assert shape(after) == shape(before)
    assert after["metadata"] == before["metadata"]
    for one in slices:
        families = {":" in ip for endpoint in one["endpoints"] for ip in endpoint["addresses"]}
        assert families <= {one["addressType"] == "IPv6"}
        assert len(one["endpoints"]) <= limit
    assert len({one["metadata"]["name"] for one in slices}) == len(slices)


# --- who uses them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.go", '  ep, err := c.CoreV1().Endpoints(ns).Get(ctx, "x", o)'),
        ("a.go", "  informer := f.Core().V1().Endpoints().Informer()"),
        ("a.go", "  func f(e *corev1.EndpointSubset) {"),
        ("a.go", "  lock := resourcelock.EndpointsResourceLock"),
        ("a.py", "core.list_namespaced_endpoints(ns)"),
        ("a.py", "client.V1Endpoints()"),
        ("a.sh", "kubectl -n x get endpoints web"),
        ("a.yaml", "  - role: endpoints"),
        ("a.py", 'get("/api/v1/namespaces/x/endpoints/web")'),
    ],
)
def test_code_that_uses_endpoints_is_found(name: str, line: str) -> None:
    assert [use.line for use in endpointusers.in_text(f"\n{line}\n", name)] == [2]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.go", "  s := c.DiscoveryV1().EndpointSlices(ns)"),
        ("a.py", "api.list_namespaced_endpoint_slice(ns)"),
        ("a.sh", "kubectl get endpointslices"),
        ("a.sh", "kubectl get pods; curl endpoints"),
        ("a.yaml", "role: endpointslice"),
        ("a.yaml", "endpoints: [a]"),
    ],
)
def test_code_that_uses_slices_is_not(name: str, line: str) -> None:
    assert list(endpointusers.in_text(line + "\n", name)) == []


def test_a_role_is_told_what_to_allow() -> None:
    text = (
        "kind: ClusterRole\nmetadata: {name: r}\nrules:\n"
        '- {apiGroups: [""], resources: [endpoints, pods], verbs: [get, watch]}\n'
    )
    (use,) = endpointusers.in_text(text, "r.yaml")
    assert use.what == "ClusterRole r allows get, watch of endpoints"
    assert "discovery.k8s.io" in use.change
    both = text + "- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get]}\n"
    (use,) = endpointusers.in_text(both, "r.yaml")
    assert "drop endpoints" in use.change
    assert "add apiGroups" not in use.change


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"subsets": {}}, "Endpoints x: subsets is no list; write a list"),
        ({"metadata": "x"}, "Endpoints ?: metadata is no mapping; write a mapping"),
        ({"subsets": ["x"]}, "Endpoints x: subsets[0] is no mapping; write a mapping"),
        ({"subsets": [{"addresses": "x"}]}, "Endpoints x: subsets[0].addresses is no list; write a list"),
        ({"subsets": [{"ports": [80]}]}, "Endpoints x: subsets[0].ports[0] is no mapping; write a mapping"),
        ({"metadata": {"name": "x", "labels": []}}, "Endpoints x: metadata.labels is no mapping; write a mapping"),
    ],
)
def test_what_has_not_the_shape_of_endpoints_is_one_line(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(endpoints.NotConvertible) as caught:
        endpoints.slices_of({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "x"}, **parts})
    assert str(caught.value) == said


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "endpoints", "10.0.0.1"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["ip", "addresses", "ports", "name", "labels", "resources", "apiGroups", "verbs"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {"apiVersion": st.just("v1"), "kind": st.sampled_from(["Endpoints", "List", "Role"])},
        optional=dict.fromkeys(("metadata", "subsets", "items", "rules"), anything),
    )
)
@settings(max_examples=300)
def test_nothing_that_a_file_may_hold_is_a_fault_of_ours(document: dict[str, Any]) -> None:
    with suppress(KubedynoError):
        endpoints.convert_text(endpoints.write({**document, "more": [{"apiVersion": "v1"}]}), "f.yaml")
    list(endpointusers.in_object(document, "f.yaml"))


def test_the_metric_and_the_audit_log_are_read() -> None:
    metric = 'apiserver_requested_deprecated_apis{group="",resource="endpoints",version="v1"} 1\n'
    assert len(list(endpointusers.in_metrics(metric, "m"))) == 1
    assert list(endpointusers.in_metrics(metric.replace('"endpoints"', '"cronjobs"'), "m")) == []
    event = {
        "kind": "Event", "stage": "ResponseComplete", "verb": "list", "userAgent": "old/1",
        "user": {"username": "u"}, "objectRef": {"resource": "endpoints", "apiVersion": "v1"},
    }  # fmt: skip
    received = {**event, "stage": "RequestReceived"}
    log = "\n".join(json.dumps(one) for one in (received, event, received, event)) + '\n{"cut'
    (use,) = endpointusers.in_audit_log(log, "audit.log")
    assert use.what == "u (old/1): list of endpoints, 2 times"


def test_a_file_that_is_no_audit_log_is_one_line() -> None:
    with pytest.raises(KubedynoError, match=r"^x: no audit events"):
        list(endpointusers.in_audit_log("hello\n", "x"))
