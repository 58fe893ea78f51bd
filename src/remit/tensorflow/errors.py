"""What goes wrong when data is read: said with the file's address, and never dressed up as something milder.

ReadRefused    an identity, a role or a token was not good enough: trying again changes nothing
ReadFailed     everything else that did not pass in time: the network, a busy account, a file that is not there
DataCorrupt    bytes came, and are not what was written
"""

from remit.model.errors import RemitError


class ReadFailed(RemitError):
    """A file could not be read."""


class ReadRefused(ReadFailed):
    """A file may not be read by whoever this job is."""


class DataCorrupt(ReadFailed):
    """A file is not what it should be."""
