"""What can go wrong in a database, each a class of its own."""


class StateDBError(Exception):
    """Base of all errors of this package."""


class RevisionNotEqualError(StateDBError):
    """Compare-and-swap or compare-and-delete met another revision than the caller's."""


class ObjectNotFoundError(StateDBError):
    """Compare-and-swap of an object that is not there."""


class UniqueIndexError(StateDBError):
    """A unique secondary index already holds the key for another object; the transaction stays usable."""


class TransactionOpenError(StateDBError):
    """This thread already has a write transaction open: transactions neither nest nor span an await."""


class TransactionClosedError(StateDBError):
    """Use of a transaction after commit or abort."""


class TableNotLockedError(StateDBError):
    """A write to a table that the transaction did not name."""


class ExpiredError(StateDBError):
    """The revision asked for lies before the history that is kept: list again and resume from there."""


# The field's own short word for it.
Expired = ExpiredError
