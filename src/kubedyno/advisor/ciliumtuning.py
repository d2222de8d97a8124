"""Rules for settings that make Cilium faster: one function a row of its tuning guide.

Sources: Cilium documentation 1.18, "Tuning Guide" and "System Requirements"; figures from our own lab are of
`kubedyno net` on Linux 6.18, 2 vCPU (AMD EPYC, KVM), single machine: ratios, not absolutes.
"""

from kubedyno.advisor import maps
from kubedyno.advisor.hostfacts import XDP_DRIVERS
from kubedyno.advisor.tuning import Advice, Setup, rule

GUIDE = "Cilium 1.18 documentation, Tuning Guide"
LAB = "measured by kubedyno net on Linux 6.18, 2 vCPU, medians of 11-12 paired rounds"
DEMO = "BIG TCP demonstration: kernel 5.19, kind with 3 nodes, netperf across nodes, Cilium 1.13"
NONE_STATED = "no figure is published"
RESTART_AGENT = "kubectl -n kube-system rollout restart daemonset/cilium"
STATUS = "kubectl -n kube-system exec ds/cilium -- cilium-dbg status --verbose"
BIG_TCP_NICS = "NICs with mlx4, mlx5 or ice drivers"


@rule
def netkit(setup: Setup) -> Advice | None:
    """Pod devices without the way through the host's receive queue."""
    if setup.netkit or setup.host.netkit is False or setup.older_than(6, 7):
        return None
    known = setup.host.netkit is True
    return Advice(
        "netkit",
        "improvement",
        "netkit pod devices instead of veth",
        evidence=(
            f"bpf.datapathMode={setup.values.get('bpf.datapathMode')}",
            "this kernel makes netkit devices" if known else "nobody has tried netkit on the nodes' kernel",
        ),
        effect="pod networking on a par with the host's (a relative statement, no figure)",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        requires=("Linux 6.8 or newer with CONFIG_NETKIT", "eBPF host routing"),
        conflicts=("bpf.hostLegacyRouting=true", "nodes where pods already have veth devices"),
        applying="new nodes and new pods only; a node must not mix netkit and veth",
        values=(("bpf.datapathMode", "netkit"),),
        check=(f"{STATUS} | grep 'Device Mode'   # netkit",),
        undo=("drain each node first: existing pods keep their devices",),
        source=GUIDE,
        ready=known and setup.host_routing,
    )


@rule
def host_routing(setup: Setup) -> Advice | None:
    """EBPF host routing: packets pass by the host's stack and its iptables."""
    if setup.host_routing or setup.older_than(5, 10):
        return None
    values = []
    evidence = []
    if not setup.kube_proxy_replacement:
        values.append(("kubeProxyReplacement", True))
        evidence.append(f"kubeProxyReplacement={setup.values.get('kubeProxyReplacement')}")
    if not setup.masquerade_in_bpf:
        values.append(("bpf.masquerade", True))
        evidence.append(f"bpf.masquerade={setup.values.get('bpf.masquerade')}")
    if setup.values.on("bpf.hostLegacyRouting"):
        values.append(("bpf.hostLegacyRouting", False))
        evidence.append("bpf.hostLegacyRouting=true")
    return Advice(
        "host-routing",
        "improvement",
        "packets go through the host's network stack: eBPF host routing is off",
        evidence=tuple(evidence),
        effect="round trips of 1 byte (P50) x0.75 on one node, x0.60 between nodes, against a host stack with"
        " conntrack and 22 rules",
        effect_source=LAB,
        requires=("Linux 5.10 or newer", "kubeProxyReplacement=true", "bpf.masquerade=true (or no masquerading)"),
        conflicts=("chaining with a CNI that depends on iptables",),
        applying="the agents restart; new connections only take the new path",
        values=tuple(values),
        apply=(RESTART_AGENT,),
        check=(f"{STATUS} | grep Routing   # Host: BPF",),
        undo=(RESTART_AGENT,),
        source=GUIDE,
    )


def _big_tcp(setup: Setup, family: int, kernel: tuple[int, int], effect: str, source: str) -> Advice | None:
    switch = f"enableIPv{family}BIGTCP"
    if setup.values.on(switch) or not setup.values.on(f"ipv{family}.enabled") or setup.older_than(*kernel):
        return None
    driver = setup.big_tcp_driver()
    if driver is False or setup.tunnel or setup.values.on("encryption.enabled"):
        return None
    return Advice(
        f"ipv{family}-big-tcp",
        "improvement",
        f"BIG TCP for IPv{family}: packets of 192 KiB inside the node instead of 64 KiB",
        evidence=(
            f"{switch}=false",
            f"kernel {setup.host.kernel or 'not known'}",
            f"NIC drivers {', '.join(setup.host.drivers) if setup.host.drivers else 'not known'}",
        ),
        effect=effect,
        effect_source=source,
        requires=(
            f"Linux {kernel[0]}.{kernel[1]} or newer",
            "eBPF host routing",
            "kubeProxyReplacement=true",
            "bpf.masquerade=true",
            BIG_TCP_NICS,
        ),
        conflicts=("tunnel routing", "IPsec or WireGuard", "bpf.hostLegacyRouting=true", "netkit before Cilium 1.19"),
        applying="restart pods: only new devices have the limits",
        values=((switch, True),),
        apply=(RESTART_AGENT, "restart the pods"),
        check=(
            f"{STATUS} | grep 'IPv{family} BIG TCP'   # Enabled [196608]; [65536] says that the NIC cannot",
            f"ip -d link show eth0 | grep {'gso_max_size' if family == 6 else 'gso_ipv4_max_size'}",
        ),
        undo=(RESTART_AGENT, "restart the pods"),
        source=GUIDE,
        ready=driver is True and setup.at_least(*kernel) and setup.host_routing and not setup.netkit,
    )


@rule
def ipv6_big_tcp(setup: Setup) -> Advice | None:
    """IPv6 packets beyond 64 KiB between sender and NIC."""
    effect = "netperf transactions +27.3 % (6,739 to 8,577 a second), P99 -17.9 % (341 to 280 us)"
    return _big_tcp(setup, 6, (5, 19), effect, DEMO)


@rule
def ipv4_big_tcp(setup: Setup) -> Advice | None:
    """IPv4 packets beyond 64 KiB between sender and NIC."""
    effect = "bulk throughput between nodes x1.51 [1.38-1.63], CPU seconds a GB x0.64, at 192 KiB"
    return _big_tcp(setup, 4, (6, 3), effect, "measured by kubedyno net on Linux 6.18, 2 vCPU, 3 alternating rounds")


@rule
def bypass_iptables_conntrack(setup: Setup) -> Advice | None:
    """No connection tracking in iptables for what Cilium tracks anyway; only where legacy host routing must stay."""
    if not setup.values.on("bpf.hostLegacyRouting") or setup.values.on("installNoConntrackIptablesRules"):
        return None
    if setup.tunnel or not setup.kube_proxy_replacement or not setup.masquerade_in_bpf:
        return None
    return Advice(
        "bypass-iptables-conntrack",
        "improvement",
        "with legacy host routing, iptables tracks every pod connection a second time",
        evidence=("bpf.hostLegacyRouting=true", "installNoConntrackIptablesRules=false"),
        effect="less CPU a packet",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        requires=("direct routing", "kubeProxyReplacement=true", "bpf.masquerade=true or none"),
        conflicts=("tunnel routing",),
        applying="the agents restart",
        values=(("installNoConntrackIptablesRules", True),),
        apply=(RESTART_AGENT,),
        check=("iptables -t raw -S | grep -i notrack",),
        undo=(RESTART_AGENT,),
        source=GUIDE,
    )


@rule
def hubble_off(setup: Setup) -> Advice | None:
    """What observing every flow costs."""
    if not setup.values.on("hubble.enabled"):
        return None
    return Advice(
        "hubble-off",
        "note",
        "Hubble watches every flow",
        evidence=("hubble.enabled=true" + ("" if setup.values.is_set("hubble.enabled") else " (the chart's default)"),),
        effect="1 to 15 % of network performance, by the number of new connections",
        effect_source=GUIDE,
        conflicts=("Hubble's metrics, Relay and UI, which would be gone",),
        applying="the agents restart",
        apply=(
            "helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set hubble.enabled=false",
            RESTART_AGENT,
        ),
        check=(f"{STATUS} | grep Hubble",),
        undo=(
            "helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set hubble.enabled=true",
            RESTART_AGENT,
        ),
        source=GUIDE,
        ready=False,
    )


@rule
def hubble_queue(setup: Setup) -> Advice | None:
    """The ring that the agent's events wait in."""
    size = setup.values.get("hubble.eventQueueSize")
    if not setup.values.on("hubble.enabled") or size or not setup.host.cpus:
        return None
    default = min(setup.host.cpus * 1024, 16_384)
    if default >= 32_768 or setup.host.cpus >= 16:
        return None
    return Advice(
        "hubble-queue",
        "improvement",
        f"Hubble's event queue has {default} places on {setup.host.cpus} CPUs",
        evidence=(f"hubble.eventQueueSize is not set: CPUs x 1024 = {default}, 16384 at most",),
        effect="no lost flows at bursts; 10,000 places take about 5 MB of memory",
        effect_source=GUIDE,
        requires=("the log line: hubble events queue is full: dropping messages",),
        applying="the agents restart",
        values=(("hubble.eventQueueSize", 32_768),),
        apply=(RESTART_AGENT,),
        check=("kubectl -n kube-system logs ds/cilium | grep 'hubble events queue is full'   # none",),
        undo=(RESTART_AGENT,),
        source=GUIDE,
    )


@rule
def hubble_monitor_interval(setup: Setup) -> Advice | None:
    """How often an active connection is reported."""
    misplaced = setup.values.is_set("bpf.events.monitorInterval")
    interval = str(setup.values.get("bpf.monitorInterval"))
    if not setup.values.on("hubble.enabled") or (interval not in {"1s", "2s", "5s"} and not misplaced):
        return None
    wrong = ("bpf.events.monitorInterval is set, which the chart does not read",) if misplaced else ()
    return Advice(
        "hubble-monitor-interval",
        "warning" if misplaced else "improvement",
        f"active connections are reported every {interval}",
        evidence=(f"bpf.monitorInterval={interval}", *wrong),
        effect="half of the events of long connections",
        effect_source=f"{GUIDE} names 10s; the factor is the ratio of the intervals",
        applying="the agents restart",
        values=(("bpf.monitorInterval", "10s"),),
        apply=(RESTART_AGENT,),
        check=("kubectl -n kube-system get cm cilium-config -o yaml | grep monitor-aggregation-interval",),
        undo=(RESTART_AGENT,),
        source=f"{GUIDE}; the chart's own name is bpf.monitorInterval",
    )


@rule
def hubble_rate_limit(setup: Setup) -> Advice | None:
    """A bound to the events of the datapath: both figures or none."""
    rate = setup.values.get("bpf.events.default.rateLimit") or 0
    burst = setup.values.get("bpf.events.default.burstLimit") or 0
    if bool(rate) == bool(burst):
        return None
    return Advice(
        "hubble-rate-limit",
        "error",
        "only one of the two figures of the event rate limit is set",
        evidence=(f"bpf.events.default.rateLimit={rate}", f"bpf.events.default.burstLimit={burst}"),
        effect="a bound to the CPU that events cost, at the price of events",
        effect_source=f"{GUIDE}: 10,000 events a second, 50,000 at once",
        applying="the agents restart",
        values=(
            ("bpf.events.default.rateLimit", rate or 10_000),
            ("bpf.events.default.burstLimit", burst or 50_000),
        ),
        apply=(RESTART_AGENT,),
        check=("kubectl -n kube-system get cm cilium-config -o yaml | grep bpf-events-default",),
        undo=(RESTART_AGENT,),
        source=GUIDE,
    )


@rule
def mtu(setup: Setup) -> Advice | None:
    """Jumbo frames, or a fixed MTU above what devices carry."""
    if setup.host.mtus is None:
        return None
    fixed = setup.values.get("MTU") or 0
    least = min((size for _, size in setup.host.mtus), default=0)
    seen = ", ".join(f"{name} {size}" for name, size in setup.host.mtus)
    if isinstance(fixed, int) and fixed > least > 0:
        return Advice(
            "mtu",
            "error",
            f"MTU={fixed} is more than the devices carry",
            evidence=(f"devices: {seen} bytes",),
            effect="no lost packets",
            effect_source="a device drops what is larger than its MTU",
            applying="restart pods: only new devices have it",
            values=(("MTU", 0),),
            apply=(RESTART_AGENT,),
            check=("ip link show eth0",),
            undo=(RESTART_AGENT,),
            source=GUIDE,
        )
    if not least or least > 1500 or fixed:
        return None
    return Advice(
        "mtu",
        "note",
        "devices have the ordinary MTU of 1500 bytes",
        evidence=(f"devices: {seen} bytes",),
        effect="fewer packets for the same bytes with jumbo frames (9000 bytes)",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        requires=("jumbo frames on every hop between the nodes",),
        applying="the nodes' devices first, then restart agents and pods; Cilium finds the MTU by itself",
        apply=("ip link set dev eth0 mtu 9000   # on every node, and its switches", RESTART_AGENT),
        check=("ping -M do -s 8972 ANOTHER-NODE",),
        undo=("ip link set dev eth0 mtu 1500", RESTART_AGENT),
        source=GUIDE,
        ready=False,
    )


@rule
def bandwidth_manager(setup: Setup) -> Advice | None:
    """Pacing by earliest departure time instead of queues."""
    if setup.values.on("bandwidthManager.enabled") or setup.host.fq is False or setup.ipsec:
        return None
    return Advice(
        "bandwidth-manager",
        "improvement",
        "bandwidth limits of pods are not enforced by eBPF",
        evidence=(
            "bandwidthManager.enabled=false",
            "the kernel has the fq qdisc" if setup.host.fq else "nobody has tried the fq qdisc",
        ),
        effect="limits without queueing in the sender's path; also sets buffers and fq for all traffic",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        requires=("CONFIG_NET_SCH_FQ", "Linux 5.1 or newer", "kubeProxyReplacement=true"),
        conflicts=("IPsec",),
        applying="the agents restart, and set sysctls of the node (default_qdisc=fq, somaxconn, backlogs)",
        values=(("bandwidthManager.enabled", True),),
        apply=(RESTART_AGENT,),
        check=(f"{STATUS} | grep BandwidthManager   # EDT with BPF [CUBIC] [eth0]",),
        undo=(RESTART_AGENT,),
        source=GUIDE,
        ready=setup.host.fq is True and setup.kube_proxy_replacement,
    )


@rule
def bbr(setup: Setup) -> Advice | None:
    """BBR congestion control for pods that serve clients far away."""
    if setup.values.on("bandwidthManager.bbr") or not setup.values.on("bandwidthManager.enabled"):
        return None
    if setup.older_than(5, 18) or not setup.host_routing:
        return None
    return Advice(
        "bbr",
        "note",
        "BBR could replace CUBIC for pods",
        evidence=("bandwidthManager.enabled=true", "bandwidthManager.bbr=false"),
        effect="better throughput over lossy paths to clients; within one host it was slower: 9.0 against 29.3 Gb/s",
        effect_source="measured by kubedyno net on Linux 6.18, 2 vCPU, without fq, one run of each",
        requires=("Linux 5.18 or newer", "bandwidthManager.enabled=true", "eBPF host routing"),
        conflicts=("bpf.hostLegacyRouting=true",),
        applying="restart pods; expect more retransmits",
        apply=(
            "helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set bandwidthManager.bbr=true",
            "restart the pods",
        ),
        check=(f"{STATUS} | grep BandwidthManager   # EDT with BPF [BBR] [eth0]",),
        undo=("helm upgrade cilium cilium/cilium -n kube-system --reuse-values --set bandwidthManager.bbr=false",),
        source=GUIDE,
        ready=False,
    )


@rule
def xdp_acceleration(setup: Setup) -> Advice | None:
    """Load balancing of node ports in the driver."""
    if setup.xdp or not setup.kube_proxy_replacement or not setup.host.drivers:
        return None
    able = [name for name in setup.host.drivers if name in XDP_DRIVERS and not setup.older_than(*XDP_DRIVERS[name])]
    if len(able) != len(setup.host.drivers):
        return None
    return Advice(
        "xdp-acceleration",
        "improvement",
        "node ports and load balancers could be served in the driver (XDP)",
        evidence=(f"NIC drivers {', '.join(able)} have native XDP", "loadBalancer.acceleration=disabled"),
        effect="less CPU a forwarded packet",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        requires=("kubeProxyReplacement=true", "native XDP in every NIC's driver", "MTU within the driver's XDP limit"),
        applying="the agents restart; links may flap while the program is attached",
        values=(("loadBalancer.acceleration", "best-effort"),),
        apply=(RESTART_AGENT,),
        check=(f"{STATUS} | grep 'XDP Acceleration'   # Native",),
        undo=(RESTART_AGENT,),
        source=f"{GUIDE}; drivers: Kubernetes Without kube-proxy",
        ready=setup.host.version is not None and not setup.tunnel,
    )


@rule
def map_sizing(setup: Setup) -> Advice | None:
    """Connection tables too small for the memory that is there."""
    ratio = setup.ratio
    if ratio is None or not 0 <= ratio <= 0.0025:
        return None
    effect = "more connections before old ones are thrown out"
    evidence = [f"bpf.mapDynamicSizeRatio={ratio:g}"]
    if setup.host.memory_b and setup.host.cpus:
        now = maps.dynamic(setup.host.memory_b, ratio, setup.host.cpus)[0].ct_tcp
        then = maps.dynamic(setup.host.memory_b, 0.01, setup.host.cpus)[0].ct_tcp
        evidence.append(f"{setup.host.memory_b / 2**30:.2f} GiB: {now} TCP connections")
        effect = f"{then} TCP connections at ratio 0.01 instead of {now}"
    return Advice(
        "map-sizing",
        "improvement",
        "BPF maps take a quarter of a percent of memory or less",
        evidence=tuple(evidence),
        effect=effect,
        effect_source=f"formula of {maps.SOURCE} (kubedyno maps)",
        requires=("the memory: kubedyno maps shows the bytes",),
        applying="the maps are made anew: connections drop",
        values=(("bpf.mapDynamicSizeRatio", 0.01),),
        apply=(RESTART_AGENT,),
        check=(f"{STATUS} | grep -A23 'BPF Maps'",),
        undo=(RESTART_AGENT,),
        source=GUIDE,
    )


@rule
def distributed_lru(setup: Setup) -> Advice | None:
    """One LRU list a CPU instead of one lock for all."""
    if setup.values.on("bpf.distributedLRU.enabled") or not setup.ratio:
        return None
    return Advice(
        "distributed-lru",
        "improvement",
        "all CPUs share one LRU list of the connection tables",
        evidence=("bpf.distributedLRU.enabled=false",),
        effect="no waiting for one lock at many new connections a second",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        requires=(
            "bpf.mapDynamicSizeRatio above 0; a larger ratio, because the free lists are one a CPU (guide: 0.08)",
        ),
        conflicts=("bpf.mapDynamicSizeRatio=0",),
        applying="the maps are made anew: connections drop",
        values=(("bpf.distributedLRU.enabled", True),),
        apply=(RESTART_AGENT,),
        check=("kubectl -n kube-system get cm cilium-config -o yaml | grep bpf-distributed-lru",),
        undo=(RESTART_AGENT,),
        source=GUIDE,
    )


@rule
def bpf_clock(setup: Setup) -> Advice | None:
    """Jiffies instead of the nanosecond clock for connection timeouts."""
    if setup.values.on("bpfClockProbe") or setup.older_than(5, 5) or setup.host.jiffies is False:
        return None
    return Advice(
        "bpf-clock",
        "improvement",
        "the datapath reads the nanosecond clock for every packet of a connection",
        evidence=("bpfClockProbe=false",),
        effect="a cheaper clock; connection entries hold smaller values",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        requires=("the helper bpf_jiffies64 (Linux 5.5)",),
        applying="timeouts of existing entries are read in the wrong unit: connections may end early",
        values=(("bpfClockProbe", True),),
        apply=(RESTART_AGENT,),
        check=(f"{STATUS} | grep 'Clock Source'   # jiffies",),
        undo=(RESTART_AGENT,),
        source=GUIDE,
    )


@rule
def scheduling_mode(setup: Setup) -> Advice | None:
    """Pod anti-affinity of the DaemonSet, which the scheduler pays for."""
    if setup.values.get("scheduling.mode") == "kube-scheduler" or setup.nodes is None or setup.nodes <= 200:
        return None
    return Advice(
        "scheduling-mode",
        "improvement",
        f"the agents' anti-affinity is weighed for every pod on {setup.nodes} nodes",
        evidence=(f"scheduling.mode={setup.values.get('scheduling.mode')}", f"{setup.nodes} nodes"),
        effect="less work for the scheduler; the DaemonSet's host ports keep agents apart anyway",
        effect_source=f"{GUIDE}: for more than several hundred nodes; {NONE_STATED}",
        applying="the DaemonSet rolls",
        values=(("scheduling.mode", "kube-scheduler"),),
        check=("kubectl -n kube-system get ds cilium -o jsonpath='{.spec.template.spec.affinity}'",),
        source=GUIDE,
    )


@rule
def kernel(setup: Setup) -> Advice | None:
    """Preemption and age of the kernel."""
    old = setup.older_than(5, 10)
    preempting = setup.host.preempt not in {None, "none"}
    if not old and not preempting:
        return None
    evidence = [f"kernel {setup.host.kernel}"]
    if setup.host.preempt:
        evidence.append(f"preemption: {setup.host.preempt}")
    return Advice(
        "kernel",
        "error" if old else "note",
        "this kernel is older than Cilium needs" if old else "the kernel is preemptible",
        evidence=tuple(evidence),
        effect="throughput before latency of other tasks (CONFIG_PREEMPT_NONE)",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        requires=("Linux 5.10 or newer (RHEL 8.10: 4.18)",),
        applying="reboot the node",
        apply=("boot a newer long-term kernel" if old else "boot with preempt=none",),
        check=("grep PREEMPT /boot/config-$(uname -r)", "cat /sys/kernel/debug/sched/preempt"),
        undo=("boot as before",),
        source=f"{GUIDE}; System Requirements",
        ready=False,
    )


@rule
def tuned(setup: Setup) -> Advice | None:
    """A profile of tuned for networking."""
    if setup.host.tuned is None or setup.host.tuned.startswith("network-"):
        return None
    return Advice(
        "tuned",
        "note",
        "no network profile of tuned is active",
        evidence=(f"tuned: {setup.host.tuned or 'not installed'}",),
        effect="less latency, at the cost of power",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        applying="at once",
        apply=("tuned-adm profile network-latency   # or network-throughput",),
        check=("tuned-adm active",),
        undo=(f"tuned-adm profile {setup.host.tuned or 'balanced'}",),
        source=GUIDE,
        ready=False,
    )


@rule
def cpu_governor(setup: Setup) -> Advice | None:
    """Frequencies that follow load cost latency."""
    if not setup.host.governor or setup.host.governor == "performance":
        return None
    return Advice(
        "cpu-governor",
        "improvement",
        f"CPU frequencies follow the governor {setup.host.governor}",
        evidence=(f"scaling_governor: {setup.host.governor}",),
        effect="no waking up to a slow CPU",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        applying="at once; until the next boot",
        apply=("for g in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do echo performance > $g; done",),
        check=("cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",),
        undo=(
            f"for g in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do echo {setup.host.governor} > $g; done",
        ),
        source=GUIDE,
        ready=False,
    )


@rule
def irq(setup: Setup) -> Advice | None:
    """Interrupts that wander."""
    if not setup.host.irqbalance:
        return None
    return Advice(
        "irq",
        "note",
        "irqbalance moves the NIC's interrupts about",
        evidence=("irqbalance runs",),
        effect="caches stay warm: each queue's interrupt on its own CPU",
        effect_source=f"{GUIDE}; {NONE_STATED}",
        applying="at once; by driver",
        apply=("systemctl stop irqbalance", "set_irq_affinity local eth0   # the driver's script"),
        check=("cat /proc/interrupts", "cat /proc/irq/*/smp_affinity_list"),
        undo=("systemctl start irqbalance",),
        source=GUIDE,
        ready=False,
    )
