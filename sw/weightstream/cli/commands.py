"""What the commands of software and gateware share: how they end, what they take, and ``--version``."""

from typing import Annotated, Any

import typer
import typer.core

from .. import __version__
from ..errors import WeightstreamError
from . import views


class Commands(typer.core.TyperGroup):
    """Commands whose foreseeable errors end as one line and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            with views.notes():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever reads our output has gone: no error of ours
        except (WeightstreamError, OSError, ModuleNotFoundError) as error:
            views.print_error(error)
            raise typer.Exit(1) from error


def group(epilog: str) -> typer.Typer:
    """Return commands to be filled.

    Parameters
    ----------
    epilog : str
        An example, for the end of the help.
    """
    return typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        add_completion=False,
        # A traceback means a bug, and is shown as Python shows it: the arrays in it are not for a terminal.
        pretty_exceptions_enable=False,
        epilog=epilog,
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weightstream {__version__}")
        raise typer.Exit


#: The option ``--version``.
Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
]


def output(metavar: str, what: str = "File to write.") -> Any:
    """Return the option ``-o``."""
    return typer.Option("-o", "--output", metavar=metavar, help=what, show_default=False)
