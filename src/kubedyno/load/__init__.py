"""The kube-burner-compatible side: YAML to Spec to Plan to requests to documents.

Knows a cluster only as HTTP through `client`; must never import `cluster`.
"""
