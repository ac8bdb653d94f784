"""The command line: the table of commands, how words become one, and how a command ends."""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from io import StringIO
from typing import Annotated, Any, Union

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

import foreframe
from foreframe.commands.console import console, leave, say, tell_what_is_logged
from foreframe.commands.data import GROUPS, Check, suggest_import
from foreframe.commands.demo import Demo
from foreframe.commands.diagnose import Diagnose
from foreframe.commands.evaluate import Evaluate
from foreframe.commands.plan import Plan
from foreframe.commands.predict import Predict, Report
from foreframe.commands.probe import Probe
from foreframe.commands.serve import Play, Serve
from foreframe.commands.simulate import Simulate
from foreframe.commands.study import Study
from foreframe.commands.train import SHOWN, Schedules, Train
from foreframe.config.recipes import RECIPES, recipe
from foreframe.errors import ForeframeError
from foreframe.runs.folder import named_config
from foreframe.training.listener import Interrupted, is_first

COMMANDS: dict[str, Any] = {
    "play": Play,
    "demo": Demo,
    "simulate": Simulate,
    "check": Check,
    "train": Train,
    "evaluate": Evaluate,
    "diagnose": Diagnose,
    "probe": Probe,
    "predict": Predict,
    "report": Report,
    "plan": Plan,
    "serve": Serve,
    "study": Study,
    "schedules": Schedules,
    **GROUPS,
}
"""Every command by its name; a dictionary is a group of commands of two words."""

_GROUP_HELP = {
    "import": "Turn videos, arrays or robot datasets into a store.",
    "export": "Write a store or a model in another form.",
}


def parse(words: Sequence[str]) -> Any:
    """The command that ``words`` ask for, ready to run.

    Raises:
        ForeframeError: the words cannot be understood.
        SystemExit: they asked for help, the version or a completion script, which was printed.
    """
    words = list(words)
    if words[:1] == ["--version"]:
        say(f"foreframe {foreframe.__version__}")
        raise SystemExit(0)
    name, command = _find(words)
    if words == name and name[:1] == ["import"] and len(name) == 2:
        suggest_import(name[1])  # a folder that has the name of a source
    if words == name and isinstance(command, dict):
        with suppress(SystemExit):
            _tyro([*words, "--help"], {})
        raise SystemExit(2)
    try:
        # Of several processes the first alone prints the help.
        silence = redirect_stdout(StringIO()) if console.quiet else nullcontext()
        with redirect_stderr(StringIO()) as problem, silence:
            return _tyro(words, _defaults(words))
    except SystemExit as end:
        if not end.code:
            raise
    raise ForeframeError(_explain(name, words, problem.getvalue()))


def _tyro(words: Sequence[str], defaults: dict[str, Any]) -> Any:
    return tyro.cli(
        _union(COMMANDS, defaults),
        prog="foreframe",
        description=foreframe.__doc__,
        args=words,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )


def _union(commands: dict[str, Any], defaults: dict[str, Any]) -> Any:
    """The type that tyro makes subcommands of: a union with a member for each command."""
    members = []
    for name, command in commands.items():
        if isinstance(command, dict):
            group = partial(_union, command, {})
            about = subcommand(name, description=_GROUP_HELP[name], constructor_factory=group)
            members.append(Annotated[object, about])
        elif name in defaults:
            members.append(Annotated[command, subcommand(name, default=defaults[name])])
        else:
            members.append(Annotated[command, subcommand(name)])
    return Union[tuple(members)]  # noqa: UP007  (made of a list)


def _find(words: Sequence[str]) -> tuple[list[str], Any]:
    """The words that name a command, and the command; of a group alone, the group."""
    name: list[str] = []
    command: Any = COMMANDS
    for word in words:
        if not isinstance(command, dict) or word.startswith("-"):
            break
        if word not in command:
            if name == ["import"]:
                suggest_import(word)
            raise ForeframeError(
                f"{' '.join([*name, word])}: unknown command; known: {', '.join(command)}."
                f"{_nearest(word, command)}"
            )
        name.append(word)
        command = command[word]
    return name, command


def _nearest(word: str, known: Iterable[str]) -> str:
    """A question after the one of ``known`` that is most like ``word``, if any is."""
    like = get_close_matches(word, known, 1)
    return f" Did you mean {like[0]}?" if like else ""


def _defaults(words: Sequence[str]) -> dict[str, Any]:
    """Values of a recipe, where a command starts from one and the other words change them.

    tyro reads all words at once, but the recipe must be known before.

    Raises:
        ForeframeError: there is no such recipe, or the recipe does not come first.
    """
    command, rest = words[:1], words[1:]
    recipe_first = bool(rest) and not rest[0].startswith("-")
    if command == ["train"]:
        if not recipe_first and not {"-h", "--help"} & set(rest):
            raise ForeframeError(
                "train: the recipe comes first: foreframe train RECIPE --data DIR --out RUN; "
                f"known recipes: {', '.join(RECIPES)}."
            )
        base = named_config(rest[0]) if recipe_first else recipe("demo")
        train = Train(tyro.MISSING, tyro.MISSING, tyro.MISSING)
        return {"train": replace(train, model=base.model, train=base.train)}
    if command == ["schedules"]:
        base = named_config(rest[0] if recipe_first else SHOWN)
        return {"schedules": Schedules(train=base.train)}
    if command == ["study"]:
        base = named_config(_option(rest, "--base") or "lab-small")
        study = Study(tyro.MISSING, tyro.MISSING, tyro.MISSING)
        return {"study": replace(study, model=base.model, train=base.train)}
    return {}


def _option(words: Sequence[str], name: str) -> str | None:
    """The value of an option that must be known before the others are read."""
    for word, after in zip(words, [*words[1:], None], strict=True):
        if word == name:
            return after
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _explain(name: Sequence[str], words: Sequence[str], problem: str) -> str:
    """In one line, what is wrong with ``words``, which tyro explains in a box of several."""
    with redirect_stdout(StringIO()) as help_, suppress(SystemExit):
        _tyro([*name, "--help"], {})
    options = set(re.findall(r"(?<!\S)--\w[\w-]*", help_.getvalue()))
    where = shlex.join(["foreframe", *name, "--help"])
    for word in words[len(name) :]:
        option = word.partition("=")[0].replace("_", "-")
        if option.startswith("--") and option not in options:
            return f"{option}: unknown option.{_nearest(option, options)} All options: {where}"
    return f"{_unboxed(problem)}. All options: {where}"


def _unboxed(text: str) -> str:
    """The first sentence of a box that tyro drew: what is under its title, above the next rule."""
    sentence: list[str] = []
    for row in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()[1:]:
        inside = row.strip("│|")
        if not inside.strip("─- "):
            if sentence:
                break
        elif not inside.startswith(" " * 8):  # so far in is the help of an option that is missing
            sentence.append(inside.strip())
    return " ".join(sentence).rstrip(".")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on standard error and exit status 2."""
    words = sys.argv[1:] if arguments is None else arguments
    # Of the processes that train together the first alone speaks.
    console.quiet = words[:1] == ["train"] and not is_first()
    tell_what_is_logged()
    try:
        parse(words).run(words)
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
