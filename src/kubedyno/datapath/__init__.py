"""Network datapaths on this machine: namespaces, veth, eBPF programs, traffic, probes → documents.

In: which datapaths, sizes and tests. Out: figures, each with the counters that prove which path the packets took.
Every packet stays in namespaces that were made here. Nothing here knows of clusters or of the load.
"""
