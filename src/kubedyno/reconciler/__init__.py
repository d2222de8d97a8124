"""Desired state in a StateDB table in, operations on a target out; status written back by compare-and-swap.

Knows nothing of Kubernetes or HTTP.
"""
