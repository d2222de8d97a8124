"""kube-state-metrics' series: what its 2.x says of each object, under the same names and labels, from the tables.

A module a chapter of the API; each says of one object at a time what there is to say. It must not know of HTTP, nor of
what anything uses. Labels and annotations of objects are not among the series, as there without allow-lists.
"""
