"""kubedyno: a dynamometer for Kubernetes and Cilium."""

__version__ = "0.1.0"
