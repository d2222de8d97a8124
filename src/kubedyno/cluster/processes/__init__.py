"""Pods that are real: processes in namespaces of their own, on a network of namespaces, behind `cluster.runtime`.

`helper` is a process of its own, started before the event loop; it forks a tiny init for each pod, `fence` closes it in,
and `link` is how the cluster talks to it. `images` says which command stands for an image, `confinement` holds a container
to its limits; `network` makes nodes and pods' devices, `services` and `policies` their rules, `names` answers DNS, `wiring`
joins these. `runtime.PodProcesses` is the whole. Nothing here knows kubelets.
"""
