"""DNS answers, byte by byte; what is malformed gets none or a format error."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.cluster.processes.names import answer, resolv_conf

KNOWN = {("web", "default", "svc"): ["10.96.0.7"], ("many", "default", "svc"): [f"10.0.0.{n}" for n in range(40)]}


class Known:
    """A service with an address, one without, and one of many addresses."""

    def lookup(self, labels):
        return KNOWN.get(labels)

    def srv(self, labels):
        if labels == ("_http", "_tcp", "web", "default", "svc"):
            return [(80, ("web", "default", "svc"))]
        if labels == ("_db", "_tcp", "pods", "default", "svc"):
            return [(5432, (f"pod-{n}", "pods", "default", "svc")) for n in range(40)]
        return None

    def name_of(self, address):
        return ("web", "default", "svc") if address == "10.96.0.7" else None


NAMES = Known()


def name_at(text, at):
    """Return a name that is not compressed, and where it ends."""
    labels = []
    while text[at]:
        labels.append(text[at + 1 : at + 1 + text[at]].decode())
        at += 1 + text[at]
    return ".".join(labels), at + 1


def query(name, kind=1, flags=0x0100, questions=1, category=1):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    return struct.pack(">6H", 77, flags, questions, 0, 0, 0) + labels + struct.pack(">HH", kind, category)


def asked(*args, **kwargs):
    text = answer(query(*args, **kwargs), NAMES)
    number, flags, questions, answers, _, _ = struct.unpack_from(">6H", text)
    assert (number, questions) == (77, 1)
    return flags & 0xF, answers, text


def test_a_name_has_its_address():
    code, answers, text = asked("web.default.svc.cluster.local")
    assert (code, answers, socket.inet_ntoa(text[-4:])) == (0, 1, "10.96.0.7")
    assert struct.unpack_from(">H", text, 2)[0] & 0x8400 == 0x8400
    assert asked("WEB.Default.svc.cluster.LOCAL")[:2] == (0, 1)


def test_a_name_without_addresses_of_that_kind_exists_all_the_same():
    assert asked("web.default.svc.cluster.local", kind=28)[:2] == (0, 0)


@pytest.mark.parametrize("name", ["other.default.svc.cluster.local", "example.com", "web", "cluster.local.example"])
def test_other_names_do_not_exist(name):
    assert asked(name)[:2] == (3, 0)


def test_an_answer_fits_into_a_datagram():
    code, answers, text = asked("many.default.svc.cluster.local")
    assert code == 0
    assert 512 - 16 < len(text) <= 512
    assert answers == (len(text) - len(query("many.default.svc.cluster.local"))) // 16


def test_a_named_port_of_a_service_is_its_port_and_name():
    code, answers, text = asked("_http._tcp.web.default.svc.cluster.local", kind=33)
    assert (code, answers) == (0, 1)
    at = len(query("_http._tcp.web.default.svc.cluster.local"))
    kind, _, _, size, priority, weight, port = struct.unpack_from(">HHIHHHH", text, at + 2)
    assert (kind, priority, weight, port) == (33, 0, 100, 80)
    assert name_at(text, at + 18) == ("web.default.svc.cluster.local", len(text))
    assert size == len(text) - at - 12
    assert asked("_http._tcp.web.default.svc.cluster.local")[:2] == (0, 0)
    assert asked("_smtp._tcp.web.default.svc.cluster.local", kind=33)[:2] == (3, 0)


def test_a_named_port_of_many_pods_is_as_many_of_them_as_fit():
    _, answers, text = asked("_db._tcp.pods.default.svc.cluster.local", kind=33)
    assert 1 < answers < 40
    assert len(text) <= 512


def test_an_address_has_the_name_of_its_service():
    code, answers, text = asked("7.0.96.10.in-addr.arpa", kind=12)
    assert (code, answers) == (0, 1)
    assert name_at(text, len(query("7.0.96.10.in-addr.arpa")) + 12)[0] == "web.default.svc.cluster.local"
    assert asked("8.0.96.10.in-addr.arpa", kind=12)[:2] == (3, 0)


def test_malformed_queries_are_told_so_and_answers_are_not_answered():
    assert answer(b"short", NAMES) == b""
    assert answer(query("web.default.svc.cluster.local", flags=0x8000), NAMES) == b""
    for bad in (query("a", questions=2), query("a")[:-3], query("a", flags=0x2800)):
        assert answer(bad, NAMES)[3] & 0xF == 1


@given(st.binary(max_size=300))
def test_no_bytes_are_an_error(data):
    text = answer(data, NAMES)
    assert text == b"" or text[:2] == data[:2]


OWN = "search ns.svc.cluster.local svc.cluster.local cluster.local"
MORE = {"nameservers": ["10.0.0.9"], "searches": ["my.dom", "cluster.local"]}
MORE["options"] = [{"name": "ndots", "value": "2"}, {"name": "edns0"}]


@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        ({}, [OWN, "nameserver 10.96.0.10", "options ndots:5"]),
        ({"dnsConfig": MORE}, [f"{OWN} my.dom", "nameserver 10.96.0.10", "nameserver 10.0.0.9", "options ndots:2 edns0"]),
        ({"dnsPolicy": "None", "dnsConfig": MORE}, ["search my.dom cluster.local", "nameserver 10.0.0.9", "options ndots:2 edns0"]),
        ({"dnsPolicy": "Default"}, []),
        ({"hostNetwork": True}, []),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, [OWN, "nameserver 10.96.0.10", "options ndots:5"]),
    ],
)  # fmt: skip
def test_a_pods_resolver_is_what_its_policy_and_its_own_configuration_say(spec, lines):
    assert resolv_conf("10.96.0.10", {"metadata": {"namespace": "ns"}, "spec": spec}).splitlines() == lines
