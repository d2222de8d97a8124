"""Kubelets: thousands of nodes as rows and timers of one pump, no task, no process.

In flow nodes and bound pods from the store's tables; out flow node statuses, leases, pod statuses and events through
the trusted door. Knows nothing of HTTP, controllers or the scheduler.
"""
