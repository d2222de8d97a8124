"""Everything that a run writes down: document types, the local indexer, the run directory."""
