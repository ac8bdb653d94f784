"""Hooks of the documentation build: pages from the root, the commands' help, formulas as MathML.

Browsers show MathML by themselves, so the pages need no script for it and no other host.
"""

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

#: Pages that people also look for at the root of a repository.
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}

_HELP = re.compile(r"\{\{ help (?P<name>\w+(?: \w+)?) \}\}")

# What pymdownx.arithmatex leaves behind with `generic: true`.
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\s*\\[(\[](?P<latex>.*?)\\[)\]]\s*</(?P=tag)>',
    re.DOTALL,
)


def mathml(latex: str, *, block: bool) -> str:
    r"""Presentation MathML of a LaTeX formula.

    Raises:
        ValueError: the formula uses a command or environment that the converter does not know.
    """
    # The converter knows split, which is laid out alike, and not aligned.
    known = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{split}", latex)
    result: str = convert(known, display="block" if block else "inline")
    # It writes the relation "is distributed as" as the character ~, an ordinary symbol.
    result = result.replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")
    # What it does not know it passes on as text rather than refusing it.
    try:
        unknown = [
            text for text in ElementTree.fromstring(result).itertext() if text.startswith("\\")
        ]
    except ElementTree.ParseError as error:
        raise ValueError(f"cannot be converted to MathML ({error})") from error
    if unknown:
        raise ValueError(f"unknown LaTeX: {', '.join(unknown)}")
    return result


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live at the root."""
    for source, name in ROOT_PAGES.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        # At the root a link into the documentation starts with docs/; here it does not.
        files.append(File.generated(config, name, content=content.replace("](docs/", "](")))
    return files


def command_help(name: str) -> str:
    """What ``foreframe NAME --help`` prints, as a section of a page."""
    executable = Path(sys.executable).with_name("foreframe")
    printed = subprocess.run(
        [executable, *name.split(), "--help"],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "COLUMNS": "96", "NO_COLOR": "1"},
    ).stdout
    return f"## foreframe {name}\n\n```text\n{printed.strip()}\n```"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the help of the commands in the place of ``{{ help NAME }}``."""
    return _HELP.sub(lambda match: command_help(match["name"]), markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace each formula with MathML."""

    def replace(match: re.Match[str]) -> str:
        latex = html.unescape(match["latex"]).strip()
        try:
            return mathml(latex, block=match["tag"] == "div")
        except ValueError as error:
            raise PluginError(f"{page.file.src_uri}: {latex}: {error}") from error

    return _FORMULA.sub(replace, content)
