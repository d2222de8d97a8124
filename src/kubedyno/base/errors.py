"""The errors a user can act on."""

# As a shell tells it of what SIGINT has ended.
EXIT_INTERRUPTED = 130


class KubedynoError(Exception):
    """One line for the user: "where: what, what to do". Never a traceback.

    Args:
        message: The whole line, without a trailing newline.
        exit_code: What the process exits with; kube-burner's codes where they apply.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
