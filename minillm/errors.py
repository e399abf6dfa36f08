"""The one exception that the command line shows as a message instead of a traceback."""


class UserError(ValueError):
    """A mistake the user can mend; the message is one sentence: what was given, what is allowed, what to do."""
