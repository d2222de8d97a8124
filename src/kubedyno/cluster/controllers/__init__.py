"""Controllers: what the objects say is wanted → the objects that follow from it.

In: records of the store's tables, as `feeds` hands them to whoever follows a kind. Out: writes through
`registry.trusted`. Each controller keeps a row of what it knows beside each of its objects, and a `WorkQueue` of those
to look at again; it learns of its own writes like anyone. Knows no HTTP, no scheduler and no kubelet: they meet in the
objects. `manager` makes and starts them all.
"""
