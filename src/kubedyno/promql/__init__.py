"""PromQL over series in memory: expositions and samples come in, vectors, matrices and the read API's answers go out.

`store` keeps series as columns, `exposition` reads what a /metrics page says, `engine` answers a query: `language` parses
it, `evaluation` makes each part of it rows of one value a step, for all steps at once, from what `selection` finds in the
store, within the `limits`. It knows no Kubernetes and no network.
"""
