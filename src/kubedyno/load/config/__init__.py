"""YAML text in, a frozen Spec out; every error carries its path and line. Does no network I/O."""
