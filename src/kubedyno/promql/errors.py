"""What can be wrong with a query, in the terms of Prometheus' HTTP API."""

from kubedyno.base.errors import KubedynoError


class QueryError(KubedynoError):
    """A query that has no answer.

    Attributes:
        kind: Prometheus' errorType: "bad_data", "execution" or "timeout".
    """

    kind = "execution"


class BadQueryError(QueryError):
    """The query's text, or a parameter of it, is wrong."""

    kind = "bad_data"


class QueryTimeoutError(QueryError):
    """The query took longer than it may."""

    kind = "timeout"


class StoreFullError(KubedynoError):
    """No more series are taken: the store's limit is reached."""


class ExpositionError(KubedynoError):
    """A page of metrics that cannot be read."""
