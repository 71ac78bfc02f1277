"""How errors leave the command line: one line on stderr and an exit code."""

import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from headrace.errors import BrokerUnavailable, ConfigError, HeadraceError, InvalidInput, UnknownModel

SOME_FAILED, BAD_USAGE, NO_BROKER = 1, 2, 3
#: BSD's EX_SOFTWARE, and the shell's 128 + SIGINT.
UNEXPECTED, INTERRUPTED = 70, 130

_EXIT_CODES: tuple[tuple[type[HeadraceError], int], ...] = (
    (ConfigError, BAD_USAGE),
    (UnknownModel, BAD_USAGE),
    (InvalidInput, BAD_USAGE),
    (BrokerUnavailable, NO_BROKER),
)


def exit_code_of(error: HeadraceError) -> int:
    """The exit code of a command that ended with the error."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), SOME_FAILED)


class ReportingGroup(TyperGroup):
    """The root command; reports whatever a verb raises."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; turn its error into a message and an exit code."""
        try:
            return super().invoke(ctx)
        except HeadraceError as error:
            _report(ctx, error, f"error [{error.code}]: {error}")
            raise typer.Exit(exit_code_of(error)) from None
        except KeyboardInterrupt as error:
            _report(ctx, error, "interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if _is_clicks_own(error):
                raise
            _report(ctx, error, f"unexpected {type(error).__name__}: {error} (run again with --traceback)")
            raise typer.Exit(UNEXPECTED) from None


def _is_clicks_own(error: Exception) -> bool:
    """Whether the group's caller treats it: usage, `typer.Exit`, a reader that closed our pipe."""
    return isinstance(error, BrokenPipeError | typer.Exit | typer.Abort) or hasattr(error, "exit_code")


def _report(ctx: Any, error: BaseException, message: str) -> None:
    if (ctx.obj or {}).get("traceback"):
        traceback.print_exception(error, file=sys.stderr)
        return
    typer.echo("; ".join([f"headrace: {message}", *getattr(error, "__notes__", [])]), err=True)
