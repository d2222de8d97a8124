import pytest

from kubedyno.cluster.kubelet.addresses import CILIUM, AddressPool


def test_a_24_has_253_addresses_from_2_to_254() -> None:
    pool = AddressPool("10.244.0.0/24")
    addresses = [pool.allocate() for _ in range(253)]
    assert addresses == [f"10.244.0.{i}" for i in range(2, 255)]
    assert pool.allocate() == ""


@pytest.mark.parametrize(("mask", "usable"), [(22, 1021), (23, 509), (24, 253), (29, 5)])
def test_a_range_loses_network_gateway_and_broadcast(mask: int, usable: int) -> None:
    pool = AddressPool(f"10.244.0.0/{mask}")
    assert pool.capacity == usable
    assert len({pool.allocate() for _ in range(usable)} - {""}) == usable
    assert pool.allocate() == ""


def test_the_search_goes_round_from_the_last_address() -> None:
    pool = AddressPool("10.244.0.0/29")
    assert [pool.allocate() for _ in range(3)] == ["10.244.0.2", "10.244.0.3", "10.244.0.4"]
    pool.release("10.244.0.2")
    assert [pool.allocate() for _ in range(4)] == ["10.244.0.5", "10.244.0.6", "10.244.0.2", ""]


@pytest.mark.parametrize("address", ["10.244.0.1", "10.244.0.9", "10.245.0.2", "10.244.0.255"])
def test_only_what_is_handed_out_comes_back(address: str) -> None:
    pool = AddressPool("10.244.0.0/24")
    pool.allocate()
    with pytest.raises(ValueError, match="not an allocated address"):
        pool.release(address)


def test_a_full_range_speaks_the_plugins_words() -> None:
    head = (
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "
        '"f8b7": plugin type='
    )
    assert AddressPool("10.244.0.0/24").exhausted("f8b7") == (
        f'{head}"ptp" failed (add): failed to allocate for range 0: no IP addresses available in range set: '
        "10.244.0.1-10.244.0.254"
    )
    assert AddressPool("10.244.0.0/22", CILIUM).exhausted("f8b7") == (
        f'{head}"cilium-cni" failed (add): unable to allocate IP via local cilium agent: [POST /ipam][502] '
        'postIpamFailure "range is full"'
    )
