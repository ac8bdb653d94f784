"""The command line: nothing but wiring."""

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes

import foreframe
from foreframe.commands.console import PATIENCE, console, leave, say
from foreframe.commands.data import GROUPS, Check
from foreframe.commands.demo import Demo
from foreframe.commands.diagnose import Diagnose
from foreframe.commands.evaluate import Evaluate
from foreframe.commands.predict import Predict, Report
from foreframe.commands.probe import Probe
from foreframe.commands.serve import Serve
from foreframe.commands.simulate import Simulate
from foreframe.commands.study import Study
from foreframe.commands.train import Schedules, Train
from foreframe.config.recipes import RECIPES, recipe
from foreframe.errors import ForeframeError
from foreframe.runs.folder import named_config
from foreframe.training.listener import Interrupted, is_first

COMMANDS = {
    "demo": Demo,
    "simulate": Simulate,
    "check": Check,
    "train": Train,
    "evaluate": Evaluate,
    "diagnose": Diagnose,
    "probe": Probe,
    "predict": Predict,
    "report": Report,
    "serve": Serve,
    "study": Study,
    "schedules": Schedules,
}


def _parse(words: Sequence[str]) -> Any:
    names = (*COMMANDS, *GROUPS)
    usage = f"foreframe {{{','.join(names)}}}"
    if not words or words[0] in ("-h", "--help"):
        say(f"usage: {usage} [--help]\n\n{foreframe.__doc__}\n")
        for name, command in COMMANDS.items():
            say(f"  {name:10s} {(command.__doc__ or '').strip()}")
        for name, group in GROUPS.items():
            say(f"  {name:10s} {{{','.join(group)}}}: foreframe {name} {next(iter(group))} --help")
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        say(f"foreframe {foreframe.__version__}")
        raise SystemExit(0)
    if words[0] in GROUPS:
        return _parse_group(words[0], list(words[1:]))
    if words[0] not in COMMANDS:
        raise ForeframeError(f"{words[0]}: unknown command; known: {', '.join(names)}.")
    command, rest = COMMANDS[words[0]], list(words[1:])
    default: dict[str, object] = {}
    if command in (Train, Schedules):
        # The recipe comes first: its values are the defaults that the other words change.
        named = bool(rest) and not rest[0].startswith("-")
        if not named and command is Train and not {"-h", "--help"} & set(rest):
            raise ForeframeError(
                "train: the recipe comes first: foreframe train RECIPE --data DIR --out RUN; "
                f"known recipes: {', '.join(RECIPES)}."
            )
        config = named_config(rest[0]) if named else recipe("demo")
        default = {"train": config.train}
        if command is Train:
            default["model"] = config.model
    if command is Study:
        config = named_config(_option(rest, "--base") or "lab-small")
        default = {"model": config.model, "train": config.train}
    annotated = OmitArgPrefixes[FlagCreatePairsOff[command]]  # type: ignore[valid-type]
    return tyro.cli(
        annotated,
        prog=f"foreframe {words[0]}",
        args=rest,
        default=_with_defaults(command, default) if default else None,
    )


def _option(words: Sequence[str], name: str) -> str | None:
    """The value of an option that must be known before the others are read."""
    for word, after in zip(words, [*words[1:], None], strict=True):
        if word == name:
            return after
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _parse_group(name: str, words: list[str]) -> Any:
    group = GROUPS[name]
    if not words or words[0] in ("-h", "--help"):
        say(f"usage: foreframe {name} {{{','.join(group)}}} IN OUT [--help]\n")
        for kind, listed in group.items():
            say(f"  {kind:10s} {(listed.__doc__ or '').strip()}")
        raise SystemExit(0 if words else 2)
    if words[0] not in group:
        raise ForeframeError(f"{name} {words[0]}: unknown; known: {', '.join(group)}.")
    command: Any = group[words[0]]
    annotated = OmitArgPrefixes[FlagCreatePairsOff[command]]
    return tyro.cli(annotated, prog=f"foreframe {name} {words[0]}", args=words[1:])


def _with_defaults(command: type, values: dict[str, object]) -> object:
    blank = {
        Train: {"recipe": tyro.MISSING, "data": tyro.MISSING, "out": tyro.MISSING},
        Schedules: {},
        Study: {"study": tyro.MISSING, "data": tyro.MISSING, "out": tyro.MISSING},
    }[command]
    return replace(command(**blank), **values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on standard error and exit status 2."""
    words = sys.argv[1:] if arguments is None else arguments
    # Of the processes that train together the first alone speaks.
    console.quiet = words[:1] == ["train"] and not is_first()
    try:
        with _one_speaks():
            command = _parse(words)
        command.run(words)
    except ForeframeError as error:
        _fail(str(error))
    except Interrupted:
        again = [word for word in words if word not in ("--fresh", "--resume")]
        again += ["--resume"] if words[0] == "train" else []
        say(f"Stopped and saved. Go on with: {shlex.join(['foreframe', *again])}")
        leave()
        raise SystemExit(130) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # Whoever read the output (head, a pager) has gone: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        _fail(
            f"{where}{error.strerror or error}. Check the path, its permissions and the free space."
        )


def _fail(message: str) -> None:
    """Say it and end; of several processes that end together, the first says it for all."""
    # A launcher ends all when one has ended, so nobody leaves before it is said. And if the first
    # goes on, or has not come yet, this process alone knows what is wrong.
    silent = console.quiet and leave()
    if not silent:
        print(f"foreframe: error: {message}", file=sys.stderr, flush=True)
        if not console.quiet:
            leave()
    raise SystemExit(2)


@contextmanager
def _one_speaks() -> Iterator[None]:
    """What tyro prints about the words, it prints once."""
    if not console.quiet:
        yield
        return
    try:
        with open(os.devnull, "w") as nobody, redirect_stdout(nobody), redirect_stderr(nobody):
            yield
    except SystemExit as end:
        if end.code:
            time.sleep(PATIENCE)  # the launcher ends this process once the first has spoken
        raise
