"""Pending pods in, bindings and FailedScheduling events out: queue, filter, score, bind."""
