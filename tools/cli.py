"""The command line: find the command, run it, turn an error into one line on stderr and an exit code.

A command is a module `tools/commands/<name>.py` that defines `command`, a function that returns None or an exit code;
it is loaded when it is called, so that `skydb --help` stays quick. The helps of all commands stand in one table here.
"""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click

import skydb
from skydb.errors import DataError, SkydbError, SkydbWarning, did_you_mean, disk_error
from skydb.store.command_line import typed

from .kernels import telling_of_compilation
from .stops import STOPS, stoppable
from .streams import is_of_stdout, prepare_streams, silence_stdout

COMMANDS = {
    "Databases": {
        "create": "Create an empty database.",
        "photcodes": "Show or import the photcodes.",
        "status": "Show what a database holds.",
        "fsck": "Check a database, and mend it.",
        "log": "Show which files were ingested, and what became of their rows.",
        "snapshots": "List the snapshots.",
        "tag": "Give a snapshot a name, take one away, or list them.",
        "diff": "Show what differs between two snapshots.",
        "rollback": "Go back to a snapshot.",
        "gc": "Remove what no snapshot needs.",
        "hosts": "List where files lie, and move them between hosts.",
    },
    "Data in": {
        "addstar": "Ingest files: associate their detections with objects.",
        "merge": "Bring other databases into one.",
        "import-dvo": "Import a DVO database.",
        "table": "List the tables of a database's own, or declare one.",
        "addrows": "Bring rows of a declared table.",
        "refresh": "Derive the tables of cells that wait for it.",
        "compact": "Fold small files, split full cells.",
        "delete": "Delete images, with all their measurements.",
    },
    "Calibration": {
        "relcal": "Solve the photometric zero points, and apply them.",
        "calibrations": "List the calibrations.",
    },
    "Questions": {
        "sql": "Answer a query.",
        "explain": "Say what a query would read.",
        "cone": "List what lies within a radius of a position.",
        "lightcurve": "List the measurements of one object.",
        "report": "Report on a night: what came, and how good it is.",
        "release": "Write a data release.",
    },
    "Try and measure": {
        "demo": "Simulate a small survey, calibrate it, ask it.",
        "simulate": "Write the files of a simulated survey, and its truth.",
        "score": "Compare a database with the truth of a simulated survey.",
        "bench": "Time skydb and its peers at the same jobs.",
    },
}
"""Short help of every command, by section. A command is listed when its module is there."""

PACKAGE = "skydb.tools.commands"


class PipeClosed(Exception):
    """Whoever read stdout closed it, as `| head` does."""


@dataclass
class Run:
    """What one run of the command line was asked for."""

    debug: bool = False


@contextmanager
def _closed_pipe_named() -> Iterator[None]:
    """Raise PipeClosed for a closed stdout, for which click would end the process with code 1.

    Astropy, when it clears up after it, raises something else.
    """
    try:
        yield
    except Exception as error:
        first: BaseException | None = error
        while first is not None and not isinstance(first, BrokenPipeError):
            first = first.__cause__ or first.__context__
        if first is None:
            raise
        raise PipeClosed from error


def _debug_option() -> click.Option:
    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(Run).debug = True

    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=remember, help="Show the traceback of an error."
    )


class Commands(click.Group):
    """The commands whose modules are there, loaded when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order of the table."""
        return [name for section in COMMANDS.values() for name in section if find_spec(_module(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command and give it the options that all have."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(_module(cmd_name)).command
        command.name = cmd_name
        for each in (command, *getattr(command, "commands", {}).values()):
            if not any(option.name == "debug" for option in each.params):
                each.params.append(_debug_option())
        return command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the words of the call, which may show a help."""
        with _closed_pipe_named():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        with _closed_pipe_named():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was called, or advise the closest name."""
        known = self.list_commands(ctx)
        if args[0] not in known:
            raise click.UsageError(f"no command named {args[0]!r}; {did_you_mean(args[0], known)}", ctx)
        return args[0], self.get_command(ctx, args[0]), args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands by section, without loading any."""
        there = set(self.list_commands(ctx))
        for section, commands in COMMANDS.items():
            rows = [(name, text) for name, text in commands.items() if name in there]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)


def _module(name: str) -> str:
    return f"{PACKAGE}.{name.replace('-', '_')}"


@click.group(
    cls=Commands,
    params=[_debug_option()],
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command has --help. Exit codes: 2 fix the call, 3 fix the data or their disk, 4 wait and try again, "
    "130 interrupted, 143 terminated.",
)
@click.version_option(skydb.__version__, prog_name="skydb", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep, calibrate, query and publish the measurements of a sky survey."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments
        The words after `skydb`; None: of this process.
    """
    prepare_streams()
    run, words = Run(), sys.argv[1:] if arguments is None else arguments
    with stoppable() as stop, _warnings_told(), telling_of_compilation(), typed(words):
        try:
            answer = cli.main(args=arguments, prog_name="skydb", standalone_mode=False, obj=run)
            sys.stdout.flush()
            code = answer if isinstance(answer, int) else 0
        except (Exception, KeyboardInterrupt) as error:
            stop.over = True
            if run.debug and not isinstance(error, BrokenPipeError | PipeClosed):
                traceback.print_exc()
            return _report(error) if stop.number is None else _end(stop.number)
        stop.over = True
        return code if stop.number is None else _end(stop.number)


def relcal() -> int:
    """Run `skydb relcal`, which is a command of its own too."""
    return main(["relcal", *sys.argv[1:]])


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Make skydb's warnings lines on stderr, each once; others are for who writes Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", SkydbWarning)
        before, told = warnings.showwarning, set[str]()

        def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, SkydbWarning):
                before(message, category, *where, **more)
            elif str(message) not in told:
                told.add(str(message))
                click.echo(f"skydb: {message}", err=True)

        warnings.showwarning = tell
        yield


def _report(error: BaseException) -> int:
    """Say on stderr what went wrong and return the exit code."""
    match error:
        case BrokenPipeError() | PipeClosed():
            silence_stdout()
            return 128 + signal.SIGPIPE
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            return error.exit_code
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "skydb"
            return _say(f"{error.format_message().rstrip('.')} (see {path} --help)", error.exit_code)
        case click.ClickException():
            return _say(error.format_message(), error.exit_code)
        case KeyboardInterrupt() | click.Abort():
            return _end(signal.SIGINT)
        case SkydbError():
            return _say(str(error), error.exit_code)
        case OSError() if is_of_stdout(error):
            silence_stdout()
            lost = "what was to be printed is lost; what the command has done stands"
            return _say(f"stdout: {error.strerror}; {lost}", DataError.exit_code)
        case OSError():
            clear = disk_error(error, "the disk")
            text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            return _say(str(clear), clear.exit_code) if clear else _say(text, 1)
        case _:
            name = type(error).__name__
            return _say(f"{name}: {error} (this is a fault of skydb: run it again with --debug, and report it)", 1)


def _end(number: signal.Signals) -> int:
    """End what still works, and say which signal it was."""
    from skydb.parallel.processes import stop_workers

    stop_workers()
    return _say(STOPS[number], 128 + number)


def _say(text: str, exit_code: int) -> int:
    """Print one line on stderr, if somebody reads it."""
    with suppress(OSError):
        click.echo(f"skydb: {' '.join(text.split())}", err=True)
    return exit_code
