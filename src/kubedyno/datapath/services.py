"""Service rules as kube-proxy's nftables mode has them in spirit: conntrack, translation of a service's address, a filter.

In: which service stands for which pod. Out: rules in a namespace, and what they counted. The wanted services come last
of their list, so that a new connection passes all the others first.
"""

from kubedyno.kernel import nftables
from kubedyno.kernel.nftables import Chain, CtState, Family, Hook, Nftables, Verdict

SAME_NODE, OTHER_NODE = 20, 21
_OTHER_SERVICES = range(1, SAME_NODE)
_TABLE = "services"
_PREROUTING = Chain("prerouting", "nat", Hook.PREROUTING, nftables.PRIORITY_DSTNAT)
_FORWARD = Chain("forward", "filter", Hook.FORWARD, nftables.PRIORITY_FILTER, Verdict.DROP)
_POSTROUTING = Chain("postrouting", "nat", Hook.POSTROUTING, nftables.PRIORITY_SRCNAT)


def address(number: int, family: int) -> str:
    """Return a service's address."""
    return f"10.96.0.{number}" if family == 4 else f"fd00:96::{number:x}"


def install(filter: Nftables, family: int, targets: dict[int, str]) -> None:
    """Install the rules: service number → pod address, after 19 services that nobody asks for.

    Raises:
        NetlinkError: The kernel has no nftables, conntrack or translation.
    """
    services = dict.fromkeys(_OTHER_SERVICES, next(iter(targets.values()))) | targets
    translate = [
        [
            *nftables.destination(address(number, family)),
            *nftables.counter(),
            *nftables.destination_nat(target),
        ]
        for number, target in services.items()
    ]
    forward = [
        [*nftables.ct_state(CtState.INVALID), *nftables.counter(), *nftables.verdict(Verdict.DROP)],
        [
            *nftables.ct_state(CtState.ESTABLISHED | CtState.RELATED),
            *nftables.counter(),
            *nftables.verdict(Verdict.ACCEPT),
        ],
        [*nftables.ct_state(CtState.NEW), *nftables.counter(), *nftables.verdict(Verdict.ACCEPT)],
    ]
    filter.install(
        Family.IPV4 if family == 4 else Family.IPV6,
        _TABLE,
        {_PREROUTING: translate, _FORWARD: forward, _POSTROUTING: [nftables.counter()]},
    )


def counts(filter: Nftables, family: int) -> dict[str, int]:
    """Return packets by rule: connections translated, packets of known and of new connections, invalid ones."""
    table_family = Family.IPV4 if family == 4 else Family.IPV6
    translated = filter.counts(table_family, _TABLE, _PREROUTING.name)
    invalid, established, new = filter.counts(table_family, _TABLE, _FORWARD.name)
    return {
        "translated": sum(count.packets for count in translated if count),
        "invalid": invalid.packets if invalid else 0,
        "established": established.packets if established else 0,
        "new": new.packets if new else 0,
    }
