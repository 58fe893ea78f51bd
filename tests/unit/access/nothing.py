"""Rooms in which no run goes on and nothing is known to end: for stories that are told of something else."""

from dataclasses import dataclass, field


class NoRuns:
    """As `access.belonging.Runs`."""

    def of(self, _job):
        return None


@dataclass
class Runs:
    """Likewise, of those that do go on, by id; or the error that comes of asking."""

    going: dict = field(default_factory=dict)
    failing: Exception | None = None

    def of(self, job):
        if self.failing:
            raise self.failing
        return self.going.get(job)


class Endless:
    """As `access.lifetime.Lifetimes`."""

    endless = 0

    def hops(self, *_):
        return ()
