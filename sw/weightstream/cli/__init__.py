"""The command ``weightstream``. Its packages, typer and rich, are an extra: nothing else imports them."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        print('the commands need: pip install "weightstream[cli]"', file=sys.stderr)
        sys.exit(2)
    app(prog_name="weightstream")
