"""Sprig, the library of functions that Go's templates are used with: a module a chapter of its manual.

Each has a table, `FUNCTIONS`: name as templates write it → what is called with their values; `functions` puts them
together. What they refuse is a `FunctionError` in Go's words; nothing here knows of templates or scopes.
"""
