"""PromQL over series in memory: expositions and samples come in, vectors, matrices and the read API's answers go out.

`store` keeps series as columns, `exposition` reads what a /metrics page says, `engine` evaluates a query for all its
steps at once: each part of an expression becomes rows of one value a step. It knows no Kubernetes and no network.
"""
