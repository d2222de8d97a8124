"""The live page: nodes and pods of any cluster, drawn as they change, and the run replayed with a scrubber.

Follows the cluster by watch and sends small rows to browsers on this machine; writes nothing, serves loopback only.
Must not know how a load is made or how the embedded cluster works inside.
"""
