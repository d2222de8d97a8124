"""Cluster facts in, findings out: which pods do not run, why, and what to change.

Rules are pure functions with their source and evidence; only `facts` reads a cluster, through `client`.
Must not know how the load was made nor that the cluster may be an embedded one.
"""
