"""Desired table → actual target: incremental rounds, retries, refresh, prune, status per object.

A `Reconciler` follows a StateDB table and calls the `Operations` of a target; what became of each object is written
back to the table. A `KeyedReconciler` does the same for keys that somebody names, in turns that somebody gives. Knows
nothing of Kubernetes or HTTP.
"""
