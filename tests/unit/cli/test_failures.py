import pytest
import typer
from typer.testing import CliRunner

from headrace.cli.failures import ReportingGroup, exit_code_of
from headrace.errors import (
    BrokerUnavailable,
    ConfigError,
    HeadraceError,
    InferenceFailed,
    InputTooLarge,
    InvalidInput,
    ResultTimeout,
    UnknownModel,
)


def run_raising(error: BaseException, *arguments: str):
    app = typer.Typer(cls=ReportingGroup, rich_markup_mode=None)

    @app.callback()
    def root(context: typer.Context, *, traceback: bool = False) -> None:
        context.obj = {"traceback": traceback}

    @app.command()
    def verb() -> None:
        raise error

    return CliRunner().invoke(app, [*arguments, "verb"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (UnknownModel("x"), 2),
        (InvalidInput("x"), 2),
        (InputTooLarge("x"), 2),
        (BrokerUnavailable("x"), 3),
        (ResultTimeout("x"), 1),
        (InferenceFailed("x"), 1),
        (HeadraceError("x"), 1),
    ],
)
def test_each_error_has_its_exit_code(error: HeadraceError, code: int) -> None:
    assert exit_code_of(error) == code
    assert run_raising(error).exit_code == code


def test_an_error_is_one_line_with_its_code_and_its_notes() -> None:
    error = UnknownModel("unknown model 'x'")
    error.add_note("the rows so far are in out.part")
    result = run_raising(error)
    assert result.stdout == ""
    assert result.stderr == "headrace: error [unknown_model]: unknown model 'x'; the rows so far are in out.part\n"


def test_an_unexpected_error_is_one_line_that_says_how_to_see_more() -> None:
    result = run_raising(ZeroDivisionError("by zero"))
    assert result.exit_code == 70
    assert result.stderr == "headrace: unexpected ZeroDivisionError: by zero (run again with --traceback)\n"


@pytest.mark.parametrize(("error", "code"), [(ZeroDivisionError("by zero"), 70), (ConfigError("x"), 2)])
def test_traceback_is_shown_on_request(error: Exception, code: int) -> None:
    result = run_raising(error, "--traceback")
    assert result.exit_code == code
    assert "Traceback (most recent call last)" in result.stderr


def test_ctrl_c_ends_with_130_and_no_traceback() -> None:
    result = run_raising(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "headrace: interrupted\n")


def test_a_verbs_own_exit_code_is_kept() -> None:
    assert run_raising(typer.Exit(5)).exit_code == 5


def test_wrong_usage_is_clicks_own_message() -> None:
    result = run_raising(typer.BadParameter("no such thing"))
    assert result.exit_code == 2
    assert "no such thing" in result.stderr
