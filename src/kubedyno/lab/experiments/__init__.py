"""Experiments: demonstrations that anybody can repeat, one module each; a table, documents and a report come out."""
