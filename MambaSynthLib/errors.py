"""The one kind of exception that a user can put right."""

from __future__ import annotations


class MambaSynthError(Exception):
    """Something is wrong with what the user handed in; told in one sentence.

    The sentence names the thing (usually a file), what is wrong with the value found, and the
    remedy. The command line prints it and exits with 2; Slicer shows it in one dialog.
    ``can_insist``: who wants it all the same can have it.
    """

    can_insist = False


class VolumeError(MambaSynthError):
    """An array, an affine or a grid that cannot be a volume."""


class FileError(MambaSynthError):
    """A file that cannot be read or written as asked."""


class ModelError(MambaSynthError):
    """A model package that is unknown, damaged or made for something else."""


class RequestError(MambaSynthError):
    """An option whose value makes no sense for this input, model or machine."""


class RefusedInput(RequestError):
    """A source that does not show what the model expects; who insists can have it all the same."""

    can_insist = True


class WouldReplace(ModelError):
    """A model package of which another version is installed."""

    can_insist = True


class Cancelled(Exception):
    """The user asked to stop. Not an error: nothing was written."""
