"""The one exception for mistakes that a user can put right."""


class Sg2ImError(ValueError):
    """Something given by the user is wrong: a file, a name, a size, an option.

    The message is one sentence that says what is wrong and where, what was expected, and what
    to do. The programs print it without a traceback and end with a non-zero exit status.
    """


def first_line(error: BaseException) -> str:
    """What another library's exception says, short enough for a sentence of ours."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":.") if lines else type(error).__name__
