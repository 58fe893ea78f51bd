"""Groups of commands: a file each, imported when it is asked for, so that none waits for another's libraries."""

import importlib
from collections.abc import Mapping
from typing import Any

import click


class Files(click.Group):
    """A group whose commands are files of one package.

    `package`: its dotted name; `files`: each file's name, which is the command's, and what the help says of it. A file
    has its command as `command`.
    """

    def __init__(self, *args: Any, package: str, files: Mapping[str, str], **more: Any) -> None:
        super().__init__(*args, **more)
        self._package = package
        self._files = files

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the help."""
        del ctx
        return [*self._files]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now."""
        del ctx
        if cmd_name not in self._files:
            return None
        found = importlib.import_module(f"{self._package}.{cmd_name}").command
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and sentences, without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([*self._files.items()])
