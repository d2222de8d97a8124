"""Per resource: defaulting, validation, admission, subresources, printer columns, and the two doors for writes.

`ServedKinds` says what is served. `Registry` is the door for clients' untrusted objects, `Trusted` the one for the
cluster's own controllers. Knows no HTTP.
"""
