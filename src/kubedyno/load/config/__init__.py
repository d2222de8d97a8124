"""YAML text in, a frozen Spec out; every error carries its path and line."""
