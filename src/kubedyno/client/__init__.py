"""Client of any Kubernetes API server: kubeconfig, credentials, requests, list and watch.

Knows HTTP only through `http`, and nothing of loads or of the embedded cluster.
"""
