"""Simulations: the embedded cluster without sockets, on simulated time, from one seed.

In: a scenario file (`scenario`), a seed. Out: a `result` with the timeline, digests of all that happened, and the first
broken invariant. The parts: `world` (the cluster, its faults' doors, its log of commits), `steps` (what the scenario
does), `faults` (what goes wrong), `checks` and `convergence` (what must hold), `expectations`, `run` (one seed).
Nothing in here may ask for wall time or draw from anything but the seed.
"""
