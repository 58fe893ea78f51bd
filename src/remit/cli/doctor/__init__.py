"""`remit doctor`: looks before the work begins; one file per question."""

import importlib

import click

_QUESTIONS = {"lifetime": "will this work outlive a credential?"}


class _Doctor(click.Group):
    """A group whose commands are files beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [*_QUESTIONS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _QUESTIONS:
            return None
        command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([*_QUESTIONS.items()])


@click.group(cls=_Doctor)
def command() -> None:
    """Look before the work begins: what would break, and what to change."""
