"""Go's text/template: text in, a compiled template out that renders over Python values.

Knows nothing of Kubernetes or of loads. Values are Python's: int and float stand for Go's int and float64, dict
for map[string]any, list for []any, None for nil.

`lex` → `parse` (a `tree`, with its `literals`) → `execute`, whose pipelines `evaluate` compiles; functions are `builtins`
and `sprig`.
"""
