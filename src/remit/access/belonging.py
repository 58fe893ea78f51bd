"""Whose run is it that a request names, and of which project?

A run that was registered speaks for whoever registered it and for nobody else, and gets tokens of its own project only:
what one does in another's name, or for another project, would be on the wrong trail. An id that nobody registered is
its caller's own word, as it always was: nothing was granted for it, and all that it does is to name what belongs
together; a run that the view has not seen yet is refused nothing for that.
"""

from typing import Protocol

from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.job import Run
from remit.model.reasons import Reason


class Runs(Protocol):
    """grants: the runs that go on. A view in memory, which follows the database."""

    def of(self, job: str) -> Run | None:
        """The run with this id, `None` when none goes on; raises `Refused` when the view is too old to ask."""


def name_of(runs: Runs, identity: Identity, job: str) -> str:
    """The name of the run that asks, of the caller's own and registered ones alone; empty for all others.

    Raises `Refused` when the view is too old to ask.
    """
    run = runs.of(job) if job else None
    return run.name if run is not None and run.principal == identity.principal.key else ""


def check_run(runs: Runs, identity: Identity, job: str, project: str = "") -> None:
    """Raises `Refused` when a run is somebody else's, or bound to another project than the one that is asked for.

    `project`: an id, empty where the request is for no project's credential.
    """
    run = runs.of(job) if job else None
    if run is None:
        return
    if run.principal != identity.principal.key:
        raise Refused(Reason.REQUEST_MALFORMED, f"the run `{job}` is somebody else's")
    if project and run.project and run.project != project:
        hint = f"start another run for it: `remit run --project {project}`"
        raise Refused(Reason.REQUEST_MALFORMED, f"the run `{job}` is for `{run.project}` alone", hint=hint)
