"""What the models of the job language are made of: the frozen base, shorthands, and texts and quantities with units."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from vtorque_spec.units import DURATION_PATTERN, SIZE_PATTERN, QuantityError, parse_duration, parse_size

T = TypeVar("T")


class Model(BaseModel):
    """Strict (no conversions), frozen, unknown keys refused. None means "not said"; no model has another default."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)


def one_of(model: Model, *members: str) -> None:
    """Refuse a model of which not exactly one of `members` was said."""
    said = [member for member in members if getattr(model, member) is not None]
    if len(said) > 1:
        raise exactly_one(f"{' and '.join(said)} exclude each other", "keep one of them")
    if not said:
        raise exactly_one(f"one of {', '.join(members)} is needed")


def exactly_one(message: str, hint: str | None = None) -> PydanticCustomError:
    """Return the error for a member that is one too many or one too few."""
    return PydanticCustomError("exactly_one", "{message}", {"message": message, "help": hint})


class Shorthand(Model):
    """A mapping that may be written as one of its members alone: `mounts: [home]` for `mounts: [{name: home}]`.

    The long form is the normal form. Because a shorthand only ever grows a mapping below a scalar, every path of the
    normal form is a path of the file or lies below one: that is the whole map back to the file.
    """

    shorthand: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def expand(cls, data: object) -> object:
        """Put a value that is not a mapping under the member that it stands for."""
        return data if isinstance(data, dict) else cls.from_scalar(data)

    @classmethod
    def from_scalar(cls, value: object) -> dict[str, object]:
        """Return the mapping that `value` alone stands for."""
        return {cls.shorthand: value}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """Publish both forms."""
        long = handler(schema)
        resolved = handler.resolve_ref_schema(long)
        short = cls.scalar_schema(resolved["properties"])
        short.pop("description", None)
        description = {"description": resolved.pop("description")}
        both = {**description, "anyOf": [short, dict(resolved)]}
        resolved.clear()
        resolved.update(both)
        return dict(long)

    @classmethod
    def scalar_schema(cls, members: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON Schema of the short form, given the schemas of the members."""
        return dict(members[cls.shorthand])


def form_error(value: str, wanted: str) -> PydanticCustomError:
    """Return the error of a text that is not `wanted`, which may end in a colon and the form in words."""
    shown = value if len(value) <= 40 else value[:37] + "..."
    kind, _, form = wanted.partition(": ")
    message = f"`{shown}` is not {kind}" if value.strip() else "the text is empty"
    return PydanticCustomError("form", "{message}", {"message": message, "help": f"write {form}" if form else None})


@dataclass(frozen=True, slots=True)
class Form:
    """Annotation: a text that must match `pattern` entirely; `wanted` says so in words, as in form_error."""

    pattern: str
    wanted: str

    def check(self, value: str) -> str:
        """Return `value` if it has the form; raises PydanticCustomError."""
        if not re.fullmatch(self.pattern, value):
            raise form_error(value, self.wanted)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], Any]) -> Any:
        return {**handler(schema), "pattern": f"^({self.pattern})$"}


def _quantity(parse: Callable[[str], int], example: str) -> Callable[[Any, ValidationInfo], Any]:
    def validate(value: Any, info: ValidationInfo) -> Any:
        """A number alone is taken in the normal form only, where the unit is fixed: bytes or seconds."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and (info.context or {}).get("normal"):
            return value
        if not number and not isinstance(value, str):
            hint = f"write it as in {example}"
            raise PydanticCustomError("quantity", "a number with a unit is needed", {"help": hint})
        try:
            return parse(str(value))
        except QuantityError as error:
            raise PydanticCustomError("quantity", "{why}", {**vars(error), "why": str(error)}) from None

    return validate


Size = Annotated[
    int,
    Field(ge=1, lt=2**53),
    BeforeValidator(_quantity(parse_size, "24GiB")),
    WithJsonSchema({"type": "string", "pattern": f"^{SIZE_PATTERN}$", "examples": ["24GiB"]}),
]
"""Bytes; written with a unit."""

Duration = Annotated[
    int,
    Field(ge=1, lt=2**31),
    BeforeValidator(_quantity(parse_duration, "120s")),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION_PATTERN}$", "examples": ["02:00:00", "120s"]}),
]
"""Seconds; written as HH:MM:SS or with a unit."""

Items = Annotated[tuple[T, ...], Strict(False)]
"""A list. (In strict mode a tuple is not read from a list.)"""

Name = Annotated[str, Form(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a name: letters, digits, dots, _ and -, at most 63")]

JobName = Annotated[
    str, Form(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", "a job name: a letter, then up to 14 of letters, digits, . _ -")
]

PackageName = Annotated[
    str,
    Form(
        r"[A-Za-z0-9]([A-Za-z0-9+._-]{0,125}[A-Za-z0-9+_])?",
        "the name of a package: letters, digits, + . _ and -, without a version",
    ),
]
"""Of Debian's or Red Hat's: https://docs.fedoraproject.org/en-US/packaging-guidelines/Naming/

Not one that ends in -, which to apt is a package to remove.
"""

Word = Annotated[
    str, Form(r"[A-Za-z0-9_][A-Za-z0-9_.@:+=/-]{0,254}", "a single word: letters, digits and _ . @ : + = / -")
]

GuestPath = Annotated[
    str,
    Form(
        r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*){1,16}",
        "a path in the guest: an absolute one without . and .. parts, as in /data",
    ),
]

FilePath = Annotated[str, Form(r"[^\x00-\x1f\x7f~][^\x00-\x1f\x7f]{0,4095}", "a path: the whole of it, without ~")]

Text = Annotated[str, Form(r"[\s\S]*\S[\s\S]*", "a text with something in it")]
