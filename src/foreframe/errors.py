"""The one error that is meant for the user, and the check that most options need."""


class ForeframeError(Exception):
    """A mistake in what foreframe was given: says what is wrong, where, and what to do about it.

    The command line prints the message alone and exits with status 2.
    """


def at_least(least: float, **options: float | None) -> None:
    """Refuse options below ``least``; an option that is None was not given.

    Args:
        least: smallest value allowed.
        options: values by the names of their fields: ``n_past=2`` is the option --n-past.

    Raises:
        ForeframeError: names the option, its value and the bound.
    """
    for name, value in options.items():
        if value is not None and not value >= least:  # NaN is refused, too
            flag = name.replace("_", "-")
            raise ForeframeError(f"--{flag} {value}: must be at least {least}.")
