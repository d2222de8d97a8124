"""What this kernel can do, found by doing it in a throw-away namespace; the answer is the kernel's own.

In: nothing. Out: `Features`, each a `Feature` with the reason when it is missing. Versions and configuration files are
only used to explain a refusal: distributions port features back, and symbols exist without the driver behind them.
"""

import errno
import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubedyno.kernel import bpf, rtnetlink
from kubedyno.kernel.assembler import R0, Assembler
from kubedyno.kernel.bpf import AttachType, Helper, Program, ProgramType
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.rtnetlink import DEFAULT_SETTINGS, LinkSettings

BIG_TCP_BYTES = 196_608
# The verifier's words for a helper that it does not know, or not in this kind of program.
_NO_HELPER = ("invalid func", "unknown func", "cannot use helper")
# The configuration option behind what may be missing, to say why where the kernel publishes its configuration.
_OPTIONS = {
    "netkit": "CONFIG_NETKIT",
    "vxlan": "CONFIG_VXLAN",
    "bridge": "CONFIG_BRIDGE",
    "veth": "CONFIG_VETH",
    "fq": "CONFIG_NET_SCH_FQ",
    "clsact": "CONFIG_NET_SCH_INGRESS",
    "tcx": "CONFIG_NET_XGRESS",
    "bpf": "CONFIG_BPF_SYSCALL",
    "nftables": "CONFIG_NF_TABLES",
    "bbr": "CONFIG_TCP_CONG_BBR",
}


@dataclass(frozen=True, slots=True)
class Feature:
    """Whether something works here; `why` is "" when it does, else the kernel's words."""

    works: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Features:
    """What was found, by name."""

    kernel: str
    root: bool
    found: dict[str, Feature]

    def __getitem__(self, name: str) -> Feature:
        return self.found[name]


def configuration_line(option: str, release: str | None = None) -> str:
    """Return e.g. "# CONFIG_NETKIT is not set" or "CONFIG_VETH=y" from the kernel's configuration, "" if it has none."""
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{release or os.uname().release}")):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        content = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")
        for line in content.splitlines():
            if line.startswith((f"{option}=", f"# {option} ")):
                return line
        return f"{option} is not in {path}"
    return ""


def _tried(name: str, attempt: Callable[[], None]) -> Feature:
    try:
        attempt()
    except OSError as error:
        said = error.strerror or str(error)
        if isinstance(error, bpf.BpfError) and error.log:
            said += f" ({error.log.strip().splitlines()[-1]})"
        option = _OPTIONS.get(name)
        # What is forbidden may well be there: the configuration says nothing then.
        line = configuration_line(option) if option and error.errno != errno.EPERM else ""
        return Feature(works=False, why=f"{said}{f'; kernel configuration: {line}' if line else ''}")
    return Feature(works=True)


def _program(code: Assembler, name: str) -> None:
    Program(code.code(), ProgramType.SCHED_CLS, name).close()


def has_helper(helper: int) -> Feature:
    """Say whether classifier programs may call a helper.

    The verifier's text decides: it names an unknown helper before it complains of the arguments, which a probe leaves
    out.
    """
    try:
        _program(Assembler().call(helper).mov(R0, 0).exit(), "helper")
    except bpf.BpfError as error:
        said = error.log.strip().splitlines()
        absent = [line for line in said if any(words in line for words in _NO_HELPER)]
        if absent or not said:
            return Feature(works=False, why=absent[0] if absent else str(error))
    return Feature(works=True)


def _link_of_kind(space: Namespace, kind: str) -> Callable[[], None]:
    def attempt() -> None:
        try:
            space.rtnetlink.create(rtnetlink.link_body("probe", kind))
        except OSError as error:
            # EINVAL "required attributes missing" comes from the driver itself: it is there.
            if error.errno == errno.EINVAL:
                return
            raise
        space.rtnetlink.delete_link(space.rtnetlink.link("probe").index)

    return attempt


def _attach(space: Namespace, index: int, attach: AttachType) -> Callable[[], None]:
    def attempt() -> None:
        code = Assembler().mov(R0, bpf.TCX_NEXT).exit().code()
        with Program(code, ProgramType.SCHED_CLS, "probe") as program, space.inside():
            bpf.Attachment(program, index, attach).close()

    return attempt


def _filter(space: Namespace, index: int) -> Callable[[], None]:
    def attempt() -> None:
        with Program(Assembler().mov(R0, bpf.ACT_OK).exit().code(), ProgramType.SCHED_CLS, "probe") as program:
            space.rtnetlink.add_qdisc(index, "clsact")
            space.rtnetlink.add_bpf_filter(index, program.descriptor, "probe")

    return attempt


def _big_tcp(space: Namespace, settings: LinkSettings, field: str) -> Callable[[], None]:
    def attempt() -> None:
        space.rtnetlink.set_link(space.rtnetlink.link("probe0").index, settings)
        found = getattr(space.rtnetlink.link("probe0"), field)
        # A kernel that does not know an attribute ignores it in silence.
        if found != BIG_TCP_BYTES:
            raise OSError(errno.EOPNOTSUPP, f"{field} stays {found or 'unknown'} (set to {BIG_TCP_BYTES})")

    return attempt


def probe() -> Features:
    """Try everything that a datapath may need. About 50 ms.

    Raises:
        OSError: Not even a network namespace can be made here.
    """
    space, peer = Namespace(), Namespace()
    try:
        netlink = space.rtnetlink
        found = {kind: _tried(kind, _link_of_kind(space, kind)) for kind in ("veth", "bridge", "vxlan", "netkit")}
        if found["veth"].works:
            netlink.create(rtnetlink.veth_body("probe0", "probe1", peer.descriptor, DEFAULT_SETTINGS))
        index = netlink.link("probe0").index if found["veth"].works else rtnetlink.LOOPBACK_INDEX
        found["bpf"] = _tried("bpf", lambda: _program(Assembler().mov(R0, 0).exit(), "probe"))
        bpf_works = found["bpf"].works
        found["redirect_peer"] = has_helper(Helper.REDIRECT_PEER) if bpf_works else found["bpf"]
        found["redirect_neigh"] = has_helper(Helper.REDIRECT_NEIGH) if bpf_works else found["bpf"]
        found["tcx"] = _tried("tcx", _attach(space, index, AttachType.TCX_INGRESS)) if bpf_works else found["bpf"]
        found["clsact"] = _tried("clsact", _filter(space, index)) if bpf_works else found["bpf"]
        found["fq"] = _tried("fq", lambda: netlink.add_qdisc(index, "fq"))
        found["nftables"] = _tried("nftables", lambda: _nftables(space))
        for name, settings, attribute_name in (
            ("big_tcp_ipv6", LinkSettings(gso_max_size=BIG_TCP_BYTES), "gso_max_size"),
            ("big_tcp_ipv4", LinkSettings(gso_ipv4_max_size=BIG_TCP_BYTES), "gso_ipv4_max_size"),
        ):
            found[name] = (
                _tried(name, _big_tcp(space, settings, attribute_name)) if found["veth"].works else found["veth"]
            )
        found["ipv6"] = _tried("ipv6", lambda: _ipv6(space))
        found["bbr"] = _tried("bbr", lambda: _congestion_control(space, "bbr"))
        return Features(os.uname().release, os.geteuid() == 0, found)
    finally:
        space.close()
        peer.close()


def _nftables(space: Namespace) -> None:
    from kubedyno.kernel import nftables  # noqa: PLC0415 - imported late: only this probe needs it

    chain = nftables.Chain("probe", "nat", nftables.Hook.PREROUTING, nftables.PRIORITY_DSTNAT)
    states = nftables.ct_state(nftables.CtState.ESTABLISHED)
    space.nftables.install(nftables.Family.IPV4, "probe", {chain: [[*states, *nftables.counter()]]})


def _ipv6(space: Namespace) -> None:
    if space.sysctl("ipv6/conf/all/disable_ipv6") != "0":
        raise OSError(errno.EAFNOSUPPORT, "net.ipv6.conf.all.disable_ipv6 is 1")


def _congestion_control(space: Namespace, name: str) -> None:
    known = space.sysctl("ipv4/tcp_available_congestion_control").split()
    if name not in known:
        raise OSError(errno.ENOENT, f"only {', '.join(known)} are available")
