"""Linux itself: network namespaces, rtnetlink, nftables, bpf(2) with an assembler, and what this kernel can do.

In: plain values (names, addresses, sizes). Out: descriptors, counters, and the kernel's own words when it refuses.
Standard library only; nothing here knows Kubernetes.
"""
