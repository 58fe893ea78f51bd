"""What the policy room is configured with. Leaves out parsing: `settings` reads `remit.yaml`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Where the policies lie, and which group and role ids the directory holds.

    `folder`: the folder of `*.cedar` files, with the obligations in its subfolder `obligations`. `groups` (object ids)
    and `roles` (app role values): when given, a policy that names another one is refused at load; `None` when no
    inventory is at hand.
    """

    folder: Path
    groups: frozenset[str] | None = None
    roles: frozenset[str] | None = None
