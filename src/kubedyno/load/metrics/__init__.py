"""Metric profiles and alerts in, queries of a Prometheus in between, documents out. Knows nothing of jobs' engines."""
