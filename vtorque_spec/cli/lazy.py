"""Groups of commands that import a command's module when it is called."""

import importlib
from collections.abc import Mapping
from typing import Any

import click

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}


class LazyGroup(click.Group):
    """Knows its commands by name; imports the module and takes its `command` when one is asked for."""

    modules: str
    """The module of a command, with `{}` for its name."""
    about: Mapping[str, str]
    """What each command does, in one line; in the order that help lists them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of their description."""
        return list(self.about)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in self.about:
            return None
        command: click.Command = importlib.import_module(self.modules.format(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.about.items()))


def lazy_group(name: str | None, modules: str, about: Mapping[str, str], help: str, **more: Any) -> LazyGroup:  # noqa: A002 - click's word
    """Return a group of the commands in `about`."""
    group = LazyGroup(name, help=help, context_settings=CONTEXT_SETTINGS, **more)
    group.modules, group.about = modules, about
    return group
