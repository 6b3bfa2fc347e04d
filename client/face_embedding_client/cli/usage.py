"""What a command says that cannot do what it was told."""


class UsageError(Exception):
    """The command cannot do what it was told; the message says why."""
