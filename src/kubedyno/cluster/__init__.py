"""The embedded Kubernetes cluster: API server, controllers, scheduler and nodes in one process on one loop.

Data enters as HTTP requests and leaves as HTTP responses and watch events. Must not know `load`.
"""
