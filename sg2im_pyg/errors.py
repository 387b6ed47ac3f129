"""The one exception for mistakes that a user can put right."""


class Sg2ImError(ValueError):
    """Something given by the user is wrong: a file, a name, a size, an option.

    The message is one sentence that says what is wrong and where, what was expected, and what
    to do. The programs print it without a traceback and end with a non-zero exit status.
    """
