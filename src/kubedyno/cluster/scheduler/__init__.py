"""Pending pods in, bindings and FailedScheduling events out: queue, filter, score, bind.

Follows the tables of pods and nodes, writes through `registry.trusted`. Knows no HTTP, no kubelet, no controller.
"""
