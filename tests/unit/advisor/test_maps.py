"""Map sizes to the entry, against agents' logs, status outputs and tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.advisor import maps
from kubedyno.base.errors import KubedynoError

GIB = 2**30
LOGGED_B = 16_791_707_648
# The study's kind node; its log says 11.67 GiB.
STUDY_B = int(11.67 * GIB)


def test_the_reference_size_is_the_sum_of_the_defaults() -> None:
    assert maps.TOTAL_B == 149_422_080
    assert maps.NAT_DEFAULT == 524_288


def test_sizes_of_an_agents_log() -> None:
    found, warnings = maps.dynamic(LOGGED_B, 0.0025, 4)
    assert found == maps.Dynamic(ct_tcp=147_295, ct_any=73_647, nat=147_295, neigh=147_295, sock_rev=73_647)
    assert warnings == ()


def test_a_small_node_stays_at_the_minimums() -> None:
    found, _ = maps.dynamic(STUDY_B, 0.0025, 8)
    assert found == maps.Dynamic(ct_tcp=131_072, ct_any=65_536, nat=131_072, neigh=131_072, sock_rev=65_536)


def test_distributed_lru_rounds_up_to_the_cpus_of_the_studys_node() -> None:
    # The log names the entries, not the bytes; this is the memory at which both tables come out.
    low, high = 12_529_768_500, 12_529_996_500
    found, _ = maps.dynamic((low + high) // 2, 0.01, 8, distributed_lru=True)
    assert found == maps.Dynamic(ct_tcp=439_648, ct_any=219_824, nat=439_648, neigh=439_648, sock_rev=219_824)
    assert abs((low + high) / 2 / GIB - 11.67) < 0.005


@pytest.mark.parametrize(
    ("gib", "ratio", "tcp", "other"),
    [
        (4, 0.0025, 131_072, 65_536), (4, 0.01, 150_700, 75_350), (4, 0.08, 1_205_604, 602_802),
        (8, 0.0025, 131_072, 65_536), (8, 0.01, 301_401, 150_700), (8, 0.08, 2_411_209, 1_205_604),
        (16, 0.0025, 150_700, 75_350), (16, 0.01, 602_802, 301_401), (16, 0.08, 4_822_419, 2_411_209),
        (64, 0.0025, 602_802, 301_401), (64, 0.01, 2_411_209, 1_205_604), (64, 0.08, 16_777_216, 9_644_838),
        (256, 0.0025, 2_411_209, 1_205_604), (256, 0.01, 9_644_838, 4_822_419),
        (256, 0.08, 16_777_216, 16_777_216),
    ],
)  # fmt: skip
def test_entries_by_memory_and_ratio(gib: int, ratio: float, tcp: int, other: int) -> None:
    found, _ = maps.dynamic(gib * GIB, ratio, 1)
    assert (found.ct_tcp, found.ct_any) == (tcp, other)


@pytest.mark.parametrize(
    ("cpus", "gib", "kube_proxy", "tcp"),
    [
        (1, 3.75, 131_072, 131_072), (2, 7.5, 131_072, 131_072), (4, 15, 131_072, 141_281),
        (8, 30, 262_144, 282_563), (16, 60, 524_288, 565_127), (32, 120, 1_048_576, 1_130_254),
        (64, 240, 2_097_152, 2_260_509), (96, 360, 3_145_728, 3_390_763),
    ],
)  # fmt: skip
def test_kube_proxys_table_beside_ciliums(cpus: int, gib: float, kube_proxy: int, tcp: int) -> None:
    found = maps.sizing(int(gib * GIB), cpus=cpus)
    assert (found.kube_proxy, found.dynamic.ct_tcp) == (kube_proxy, tcp)
    assert any(row[:3] == (cpus, gib, kube_proxy) for row in maps.DOCUMENTED)


def test_the_minimum_is_left_just_below_14_gib() -> None:
    assert maps.dynamic(int(13.91 * GIB), 0.0025, 1)[0].ct_tcp == 131_072
    assert maps.dynamic(int(13.93 * GIB), 0.0025, 1)[0].ct_tcp > 131_072


@given(st.integers(1, 2**44), st.integers(1, 256), st.integers(1, 10**6), st.booleans())
def test_sizes_keep_their_limits_and_distributed_ones_divide_by_the_cpus(
    memory_b: int, cpus: int, ratio_ppm: int, lru: bool
) -> None:
    found, _ = maps.dynamic(memory_b, ratio_ppm / 10**6, cpus, distributed_lru=lru)
    for entries in (found.ct_tcp, found.ct_any, found.nat, found.sock_rev):
        assert maps.LIMIT_MIN <= entries <= maps.LIMIT_MAX
        assert not lru or entries % cpus == 0
    assert found.nat <= found.ct_tcp + found.ct_any
    assert found.neigh == found.nat


@given(st.integers(1, 8_000_000), st.integers(8 * GIB, 512 * GIB), st.integers(1, 128), st.booleans())
def test_the_ratio_for_connections_is_enough_and_the_least(wanted: int, memory_b: int, cpus: int, lru: bool) -> None:
    ratio = maps.ratio_for(wanted, memory_b, cpus, distributed_lru=lru)
    assert maps.dynamic(memory_b, ratio, cpus, distributed_lru=lru)[0].ct_tcp >= wanted
    if ratio > 1e-6:
        assert maps.dynamic(memory_b, round(ratio - 1e-6, 6), cpus, distributed_lru=lru)[0].ct_tcp < wanted


def test_more_connections_than_a_table_can_hold_are_refused_with_the_most() -> None:
    with pytest.raises(KubedynoError, match="at most 16777216 fit"):
        maps.ratio_for(20_000_000, 4096 * GIB)


def test_a_flag_is_left_alone_and_the_others_follow_memory() -> None:
    found = maps.sizing(64 * GIB, given={"bpf-ct-global-tcp-max": 1_000_000, "bpf-lb-map-max": 131_072})
    assert found.entries("TCP connection tracking") == 1_000_000
    assert found.entries("Non-TCP connection tracking") == 301_401
    assert found.entries("IPv4 service backend") == 131_072
    assert {row.how for row in found.rows if row.entries == 131_072} == {"flag"}


def test_nat_is_capped_by_small_connection_tables() -> None:
    found, warnings = maps.dynamic(
        64 * GIB, 0.0025, 1, given={"bpf-ct-global-tcp-max": 100_000, "bpf-ct-global-any-max": 50_000}
    )
    assert found.nat == 100_000
    assert warnings == (
        "option bpf-nat-global-max would exceed maximum determined by CT table sizes, capping to 100000",
    )


@pytest.mark.parametrize(
    ("ratio", "lru", "given_", "said"),
    [
        (0.0, True, {}, "distributed LRU is only valid with a specified dynamic map size ratio"),
        (1.5, False, {}, "specified dynamic map size ratio 1.500000 must be ≤ 1.0"),
        (-0.1, False, {}, "specified dynamic map size ratio -0.100000 must be > 0.0"),
        (0.1, False, {"bpf-nat-global-max": 10}, "specified NAT table size 10 must be greater or equal to 1024"),
        (
            0.1,
            False,
            {"bpf-nat-global-max": 2**25},
            "specified NAT tables size 33554432 must not exceed maximum 16777216",
        ),
        (0.1, False, {"bpf-wrong": 1}, "bpf-wrong: unknown map flag"),
    ],
)
def test_what_the_agent_refuses_is_refused(ratio: float, lru: bool, given_: dict[str, int], said: str) -> None:
    with pytest.raises(KubedynoError) as caught:
        maps.dynamic(64 * GIB, ratio, 4, distributed_lru=lru, given=given_)
    assert str(caught.value).startswith(said)


def test_four_endpoints_each_fill_the_service_map_at_13107_services() -> None:
    def services(count: int) -> maps.Demand:
        return maps.demand({f"10.0.0.{number}:80/TCP": 4 for number in range(count)}, count * 4)

    assert services(13_107).services <= maps.LB_DEFAULT < services(13_108).services


@pytest.mark.parametrize(
    ("pressure", "graded"),
    [(0, "ok"), (0.69, "ok"), (0.7, "warning"), (0.9, "critical"), (1.0, "full"), (1.44, "full")],
)
def test_pressure_is_graded(pressure: float, graded: str) -> None:
    assert maps.grade(pressure) == graded


def status_of(sizing: maps.Sizing, ratio: str) -> str:
    rows = "\n".join(f"  {row.name:<30}{row.entries}" for row in sizing.rows)
    return f"KVStore: Disabled\nBPF Maps:   dynamic sizing: on (ratio: {ratio})\n  Name                          Size\n{rows}\nEncryption: Disabled\n"


def test_a_status_is_compared_with_the_formula() -> None:
    sizing = maps.sizing(LOGGED_B, 0.0025)
    status = maps.parse_status(status_of(sizing, "0.002500"), "status.txt")
    assert status.ratio == 0.0025
    assert len(status.sizes) == 22
    assert maps.compare(status, sizing) == ([], [])
    other = maps.sizing(64 * GIB, 0.0025)
    assert maps.Difference("NAT", 147_295, 602_802) in maps.compare(status, other)[0]
    memory = maps.memory_of_status(status)
    assert memory is not None
    assert memory[0] <= LOGGED_B <= memory[1]


def test_half_a_status_is_compared_as_far_as_it_goes() -> None:
    sizing = maps.sizing(LOGGED_B, 0.0025)
    text = "\n".join(status_of(sizing, "0.002500").splitlines()[:5])
    differences, absent = maps.compare(maps.parse_status(text, "status.txt"), sizing)
    assert (differences, len(absent)) == ([], 20)


@pytest.mark.parametrize("text", ["", "BPF Maps:   dynamic sizing: off\n", "nothing of the sort"])
def test_a_status_without_the_table_is_one_line(text: str) -> None:
    with pytest.raises(KubedynoError, match=r"^status\.txt: "):
        maps.parse_status(text, "status.txt")
