"""Network performance between pods of any cluster: deployments, commands in them, tables and documents.

In a client of an API server and `plan.Options`; out results, as `cilium connectivity perf` names and prints them. It knows a
cluster only as HTTP, and leaves nothing behind in it.
"""
