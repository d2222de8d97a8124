"""HTTP/2 and HTTP/1.1 framing, connections, server loop and client connections: the only door to sockets.

Knows nothing of Kubernetes.
"""
