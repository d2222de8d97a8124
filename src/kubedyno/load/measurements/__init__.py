"""Watch events in, latency documents out; one module per measurement. Never sees the engine."""
