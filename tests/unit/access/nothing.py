"""Rooms in which no run goes on and nothing is known to end: for stories that are told of something else."""


class NoRuns:
    """As `access.belonging.Runs`."""

    def of(self, _job):
        return None


class Endless:
    """As `access.lifetime.Lifetimes`."""

    endless = 0

    def hops(self, *_):
        return ()
