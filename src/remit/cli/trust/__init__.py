"""`remit trust`: what the clouds must hold; one file per command, imported when it is asked for."""

import importlib

import click

_COMMANDS = {
    "init": "a first remit.yaml",
    "plan": "what the clouds lack of what remit.yaml says",
    "apply": "carry out the plan that was reviewed",
    "verify": "walk every hop, and compare policy and IAM",
    "drift": "what was changed behind remit.yaml's back",
    "rotate": "keys, secrets and assignments that have an end",
    "schema": "remit.yaml for editors",
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
        found = importlib.import_module(f"remit.cli.trust.{cmd_name}").command
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands)
def command() -> None:
    """The agreement between Entra, Google, Azure and the policy, as code."""
