"""`remit policy`: the policies of an installation; one file per command, imported when it is asked for."""

import importlib

import click

_COMMANDS = {
    "init": "a policy folder to start from",
    "check": "are they good, and is each of them needed",
    "test": "do they decide as their tests say",
    "diff": "who would gain or lose by an edit",
    "schema": "what policies can speak of",
}


class _Commands(click.Group):
    """A group whose commands are files beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        found = importlib.import_module(f"remit.cli.policy.{cmd_name}").command
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands)
def command() -> None:
    """The policies: start with them, check them, test them, and see what an edit would change."""
