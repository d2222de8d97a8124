"""An in-memory multi-version database: tables, indexes, transactions, revisions, changes, watch channels.

Readers never block; writers serialise. Knows nothing of Kubernetes or HTTP.
"""
