"""Whatever a policy holds, opening the site and linting it ends with findings or without, never with a traceback."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from tests.policy.helpers import lint, write_site
from vtorque_spec.policy.vocabulary import CONTEXT, KEYWORDS, TYPES, Shape
from vtorque_spec.spec.fields import ANY, all_fields, job_field

FIELDS = [(), *(field.path for field in all_fields()), *(("context", name) for name in CONTEXT), ("context",)]
NAMES = ["vcpus", "memory", "batch", "image", "run", "hooks", "context", "hugepages"]
SCALARS: list[Any] = [-1, 0, 1, 4096, 0.5, True, False, "none", "debian-12", "4GiB", "02:00:00", "home", "^a", "(a+)+"]
FINE: dict[Shape, list[Any]] = {
    "texts": [["vcpus"], ["batch", "hooks"]],
    "requirements": [{"vcpus": ["memory"]}, {"batch": []}],
    "number": [-5, 0, 1, 2.5, 10**6],
    "step": [1, 3, 0.5],
    "count": [0, 1, 9],
    "flag": [True, False],
    "pattern": ["^a", "(a+)+", "", "^[a-z]{2,40}$"],
    "types": [*TYPES, ["string", "integer"]],
    "size": ["1B", "4GiB", "900GiB"],
    "duration": ["1s", "02:00:00", "900h"],
    "images": [["debian-12"], ["debian-*", "tag=cfd"], ["rocky-*", "tag=x"]],
    "nodes": ["n[1-4]"],
    "code": ["HLRS012", "X1"],
    "severity": ["error", "warning"],
    "url": ["https://x.org", "x.org"],
    "reference": ["#/$defs/a", "#/$defs/b", "rules/a.yaml", "urn:vtorque:policy:base#/properties/vcpus"],
    "text": ["{value}", "{x}", "a"],
}
ANYWHERE = [word for word, keyword in KEYWORDS.items() if keyword.shape not in ("members", "requirements", "texts")]


def schema(dice: random.Random, depth: int) -> Any:
    """A schema of a few keywords; at the innermost level a plain one."""
    if depth == 0 or dice.random() < 0.1:
        return dice.choice([True, False, {}, {"maximum": 4}, {"default": dice.choice(SCALARS)}, {"const": 2}])
    words = dice.sample(ANYWHERE, 3)
    made = {word: value_for(dice, KEYWORDS[word].shape, depth - 1) for word in words if word not in ("then", "else")}
    if "if" in made:
        made[dice.choice(["then", "else"])] = schema(dice, depth - 1)
    return made


def value_for(dice: random.Random, shape: Shape, depth: int) -> Any:
    if shape == "schema":
        return schema(dice, depth)
    if shape == "schemas":
        return [schema(dice, depth) for _ in range(dice.randint(1, 2))]
    if shape == "values":
        return dice.choices([*SCALARS, [], {"name": "x"}, [1, "a"]], k=dice.randint(1, 3))
    return dice.choice(FINE.get(shape, SCALARS))


def at_a_field(dice: random.Random) -> Any:
    """A schema about some field of a job, at its place below `properties` and `items`."""
    path, found = dice.choice(FIELDS), schema(dice, 2)
    for end in range(len(path), 0, -1):
        above = job_field(path[: end - 1])
        listed = above is not None and above.kind == "list"
        if path[end - 1] == ANY:
            found = {"items" if listed else "additionalProperties": found}
        else:
            found = {"properties": {path[end - 1]: found}}
    return found


def policy(dice: random.Random) -> dict[str, Any]:
    rules = [at_a_field(dice) for _ in range(3)]
    branch = {"if": at_a_field(dice), "then": at_a_field(dice), "else": at_a_field(dice)}
    case = {dice.choice(["not", "contains"]): at_a_field(dice), "oneOf": [at_a_field(dice), at_a_field(dice)]}
    definitions = {"a": schema(dice, 1), "b": {"allOf": [{"maximum": dice.choice([1, 9])}]}}
    return {"$defs": definitions, "required": [dice.choice(NAMES)], "allOf": [*rules, branch, case]}


def test_any_policy(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    linted = 0
    for seed in range(200):
        site = write_site(tmp_path, "", a="maximum: 4\n")
        (site / "policy.yaml").write_text(yaml.safe_dump(policy(random.Random(seed)), sort_keys=False))
        codes = {code for code, _, _ in lint(site)}
        linted += not codes & {"VT0701", "VT0702", "VT0705", "VT0706"}
        found.update(codes)
    assert linted > 100, found
    assert set(found) >= {"VT0703", "VT0708", "VT0709", "VT0710", "VT0711", "VT0712", "VT0713", "VT0716"}
