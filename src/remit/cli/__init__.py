"""The command line: one file per command, imported when it is asked for.

Every command has `--json`; data goes to stdout, the rest to stderr; exit 0 yes, 1 no, 2 error.
"""

import sys
import traceback
from collections.abc import Sequence

import click

from remit import __version__
from remit.cli.files import Files
from remit.cli.output import fail, misused
from remit.model.errors import RemitError

_COMMANDS = {
    "demo": "the whole story on the lab, start to finish",
    "lab": "the local clouds",
    "serve": "the gateway and the arbiter",
    "login": "sign in",
    "logout": "forget the sign-in",
    "whoami": "who remit says you are",
    "run": "a command with ambient, renewing credentials",
    "token": "one short-lived token",
    "can": "may they, and why",
    "who": "everyone who may",
    "explain": "why a decision came out so, and what would change it",
    "request": "to be permitted something for a while",
    "approve": "let somebody have what they asked for",
    "deny": "refuse it",
    "withdraw": "take back what you asked for",
    "list": "what was asked for, and what is granted",
    "review": "look at what was taken without waiting",
    "revoke": "the end of what somebody was permitted",
    "policy": "write, check, test and replay the policies",
    "trust": "do Entra, Google and the policy agree",
    "audit": "what happened, and is it proved",
    "doctor": "look before the work begins: will it outlive a credential",
    "catalogue": "what remit knows of an API",
    "scan": "static keys, and what replaces them",
}


@click.group(cls=Files, package=__name__, files=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="remit")
def remit() -> None:
    """Who may do what with your models, with which credential, and who did.

    Shell completion: eval "$(_REMIT_COMPLETE=bash_source remit)" (or zsh_source, fish_source).
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 yes, 1 no, 2 error."""
    try:
        code = remit.main(arguments, prog_name="remit", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        sys.exit(fail(misused(error)))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)  # 128 + SIGINT, as a shell reports it
    except RemitError as error:
        sys.exit(fail(error))
    except OSError as error:
        sys.exit(fail(RemitError(str(error).partition("] ")[2] or str(error))))
    except Exception:  # noqa: BLE001 - Python's own exit code for a crash is 1, which means no here
        traceback.print_exc()
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
