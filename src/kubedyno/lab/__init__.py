"""The composition root, and the only place where load meets cluster.

Chooses the target (embedded or real), wires clock, seed, indexers and diagnosis into a run, and tells the
study's story. Data enters as command-line choices and leaves as documents, reports and exit codes.
"""
