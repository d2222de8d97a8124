"""Benchmarks: one module a name, each with `figures(quick) -> dict[str, float]`. Run by `./bench`."""
