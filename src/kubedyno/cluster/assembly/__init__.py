"""Wires the cluster's parts on one loop: kind configurations, what a fresh cluster holds, the control endpoint.

The one place of `cluster` that knows all its parts. Settings come in, a served cluster comes out.
"""
