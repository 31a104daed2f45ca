"""What runs inside the guest as the user: the job's text, hooks, environment.

None of it ever reaches root, but what an OSv guest runs: that is its kernel's command line.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from vtorque_spec.spec.base import FilePath, Items, Model, Name, Shorthand, Text, exactly_one, one_of

Command = Annotated[Items[str], Field(min_length=1)]

WAYS = ("text", "script", "command", "commands", "config_set")
"""To say what a job runs: the first two for Linux, the others for OSv."""


class Run(Shorthand):
    """What the job runs; short form: shell text."""

    shorthand: ClassVar[str] = "text"
    text: Text | None = Field(None, description="shell text, or a program that starts with a #! line")
    script: FilePath | None = Field(None, description="a script, relative to the job file; embedded when compiled")
    args: Items[str] | None = Field(None, description="arguments of the script")
    command: Command | None = Field(None, description="OSv: the program and its arguments")
    commands: Annotated[Items[Command], Field(min_length=1)] | None = Field(
        None, description="OSv: several of them, one after the other; one that calls exit() ends the VM"
    )
    config_set: Name | None = Field(None, description="OSv: what the image calls one of its Capstan config sets")
    console: Literal["job", "all"] | None = Field(
        None, description="OSv: what of its console is the job's output: all, or what the job prints; job if absent"
    )

    @model_validator(mode="after")
    def one_way(self) -> Self:
        """Exactly one way to say it; arguments go with a script, and a console with OSv."""
        one_of(self, *WAYS)
        if self.args is not None and self.script is None:
            raise exactly_one("args goes with script only", "remove args, or move the text into a script of its own")
        if self.console is not None and (self.text is not None or self.script is not None):
            raise exactly_one("console goes with OSv's commands only", "remove console: a Linux guest's is kept apart")
        return self


class Hook(Shorthand):
    """A script that runs in the first VM as the user; short form: its path."""

    shorthand: ClassVar[str] = "path"
    path: FilePath | None = Field(None, description="a script, relative to the job file; embedded when compiled")
    inline: Text | None = Field(None, description="the script's text")

    @model_validator(mode="after")
    def one_way(self) -> Self:
        """Exactly one way to say it."""
        one_of(self, "path", "inline")
        return self


class Hooks(Model):
    """Scripts before and after the job."""

    prologue: Hook | None = Field(None, description="before the job; if it fails, the job does not run")
    epilogue: Hook | None = Field(None, description="after the job, however it ended")


class EnvValue(Shorthand):
    """The value of an environment variable; short form: the text."""

    shorthand: ClassVar[str] = "value"
    value: str | None = Field(None, description="the value; visible to others in the batch script")
    from_file: FilePath | None = Field(
        None, description="a file whose text the job's own process reads when the job starts"
    )

    @model_validator(mode="after")
    def one_way(self) -> Self:
        """Exactly one way to say it."""
        one_of(self, "value", "from_file")
        return self
