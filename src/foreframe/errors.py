"""The one error that is meant for the user."""


class ForeframeError(Exception):
    """A mistake in what foreframe was given: says what is wrong, where, and what to do about it.

    The command line prints the message alone and exits with status 2.
    """
