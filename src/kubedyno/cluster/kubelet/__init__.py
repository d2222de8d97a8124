"""Nodes: leases, PodCIDR addresses, pod lifecycle as a table of stages, kubelet configuration files."""
