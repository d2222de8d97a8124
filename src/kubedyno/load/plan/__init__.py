"""Spec and object templates in, a printable Plan out: Go templates compiled to JSON bytes with holes. Pure."""
