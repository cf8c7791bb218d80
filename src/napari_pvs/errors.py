"""The one exception for wrong input, and the warning for doubtful input."""


class InputError(Exception):
    """Input the user can mend; the message is one sentence naming the file and the remedy.

    The command line prints it without a traceback and exits with code 2. Anything else that is
    raised is a bug and keeps its traceback.
    """


class InputWarning(UserWarning):
    """Input that is used but looks wrong (swapped channels, coarse voxels)."""
