"""What `policy lint` says of whole policies; tests/invalid/sites has single mistakes with their exact findings."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.policy.helpers import lint, write_site
from tests.spec.helpers import ROOT, document
from vtorque_spec.cli import group
from vtorque_spec.diagnostics import Report
from vtorque_spec.driver import check_document, job_from_machine_part, machine_part, open_site
from vtorque_spec.policy import Context
from vtorque_spec.render.formats import FORMATS

STUDENTS = "{properties: {context: {properties: {groups: {contains: {const: students}}}}}}"
SITES = [ROOT / "examples/site", ROOT / "schemas/local", *map(ROOT.joinpath, ["tests/invalid/sites/branches"])]
PAGE = (ROOT / "docs/policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n# (policy|rules/\w+)\.yaml\n(.*?)```", PAGE, re.DOTALL)

FINE = {
    "a default at its limit": "properties: {vcpus: {default: 14, maximum: 14}}",
    "a default of a branch": f"""
        properties: {{vcpus: {{default: 8, maximum: 14}}}}
        if: {STUDENTS}
        then: {{properties: {{vcpus: {{default: 2, maximum: 4}}}}}}
        """,
    "the same condition twice": f"""
        properties: {{vcpus: {{default: 8, maximum: 14}}}}
        allOf:
          - {{if: {STUDENTS}, then: {{properties: {{vcpus: {{default: 2}}}}}}}}
          - {{if: {STUDENTS}, then: {{properties: {{vcpus: {{maximum: 4}}}}}}}}
        """,
    "branches that exclude each other": f"""
        if: {STUDENTS}
        then: {{properties: {{vcpus: {{maximum: 4}}}}}}
        else: {{properties: {{vcpus: {{minimum: 6, default: 6}}}}}}
        """,
    "a condition on the field itself": """
        if: {properties: {memory: {minQuantity: 32GiB}}}
        then: {properties: {memory: {minQuantity: 48GiB}}}
        """,
    "a condition on a member with a default": """
        if: {properties: {batch: {properties: {walltime: {minDuration: 12h}}}}}
        then: {properties: {vcpus: {maximum: 8}}}
        """,
    "a condition that asks for absence": """
        if: {properties: {batch: {properties: {queue: false}}}}
        then: {properties: {vcpus: {maximum: 8}}}
        """,
    "a member required further out": """
        if: {required: [hugepages]}
        then:
          if: {properties: {hugepages: {const: 1GiB}}}
          then: {properties: {memory: {minQuantity: 1GiB}}}
        """,
    "required beside a reference": """
        $defs: {huge: {properties: {hugepages: {const: 1GiB}}}}
        if: {required: [hugepages], $ref: "#/$defs/huge"}
        then: {properties: {memory: {minQuantity: 1GiB}}}
        """,
    "an item's required name": """
        if: {required: [mounts], properties: {mounts: {contains: {properties: {name: {const: home}}}}}}
        then: {properties: {vcpus: {maximum: 8}}}
        """,
    "one reference at two fields": """
        $defs: {few: {maximum: 8}}
        properties: {vcpus: {$ref: "#/$defs/few"}, vms_per_node: {$ref: "#/$defs/few"}}
        """,
    "one code for one message": """
        code: HLRS001
        message: "{value}, {limit}"
        properties: {vcpus: {maximum: 4}, memory: {maxQuantity: 4GiB}}
        """,
    "a warning below the limit": """
        properties: {vcpus: {maximum: 14, allOf: [{maximum: 8, severity: warning}]}}
        """,
    "a feature that may be declined": "{required: [hugepages], properties: {hugepages: false}}",
    "nothing for some": f"{{if: {STUDENTS}, then: false}}",
    "everything that has a name": """
        properties:
          image: {imageIn: [debian-12, "debian-*", tag=cfd], properties: {name: {pattern: ^debian}}}
          mounts: {items: {properties: {name: {enum: [home]}}}}
          network: {properties: {name: {const: default}}}
          packages: {items: {enum: [libmetis5]}, uniqueItems: true, maxItems: 4}
        """,
    "an exact size": "properties: {memory: {enum: [1073741824, 2147483648]}}",
    "types of the normal form": """
        type: object
        properties: {memory: {type: integer}, image: {type: object}, mounts: {type: array}, vcpus: {type: [number]}}
        """,
    "a closed mapping": """
        properties: {batch: {properties: {queue: {enum: [a, b]}, walltime: {}, nodes: {}, join: {}},
                             additionalProperties: false}}
        """,
}


@pytest.mark.parametrize("name", FINE)
def test_nothing_is_wrong(name: str, tmp_path: Path) -> None:
    assert lint(write_site(tmp_path, FINE[name])) == []


@pytest.mark.parametrize("site", SITES, ids=lambda path: path.name)
def test_policies_of_this_repository(site: Path) -> None:
    assert lint(site) == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 9


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_the_examples_of_the_page(example: int, tmp_path: Path) -> None:
    name, text = EXAMPLES[example]
    others = {other.removeprefix("rules/"): said for other, said in EXAMPLES if other != "policy"}
    if name == "policy":
        assert lint(write_site(tmp_path, text, **others)) == []


def test_a_limit_that_leaves_the_default_of_one_branch_out(tmp_path: Path) -> None:
    policy = f"""\
        properties: {{memory: {{default: 8GiB}}}}
        if: {STUDENTS}
        then:
          properties: {{vcpus: {{default: 2}}}}
        else:
          properties: {{memory: {{maxQuantity: 4GiB}}}}
        """
    (finding,) = lint(write_site(tmp_path, policy))
    assert finding == ("VT0703", 1, "the default of `memory` is 8GiB, at most 4GiB is allowed")


def test_a_default_of_a_branch_that_a_limit_for_all_leaves_out(tmp_path: Path) -> None:
    policy = f"""
        properties: {{vcpus: {{maximum: 8}}}}
        if: {STUDENTS}
        then: {{properties: {{vcpus: {{default: 12}}}}}}
        """
    (finding,) = lint(write_site(tmp_path, policy))
    assert finding == ("VT0703", 4, "the default of `vcpus` is 12, at most 8 is allowed")


def test_a_policy_that_does_not_load_is_not_counted(tmp_path: Path) -> None:
    exit_code, _, errors = run(write_site(tmp_path, "properties: {vcpus: {maximun: 4}}"))
    assert (exit_code, errors) == (1, "the policy does not load: 1 error, 0 warnings\n")


def test_a_limit_inside_a_default_mapping(tmp_path: Path) -> None:
    policy = """\
        properties:
          network:
            default: {name: default, rdma: sriov}
            properties: {rdma: {enum: [none]}}
        """
    (finding,) = lint(write_site(tmp_path, policy))
    assert finding == ("VT0703", 3, "the default of `network.rdma` is sriov, allowed is none")


def test_each_finding_is_told_once(tmp_path: Path) -> None:
    """A schema that two places refer to is one mistake."""
    policy = """\
        $defs: {bad: {maximum: 4, message: "{limits}"}}
        properties: {vcpus: {$ref: "#/$defs/bad"}, vms_per_node: {$ref: "#/$defs/bad"}}
        """
    assert [code for code, _, _ in lint(write_site(tmp_path, policy))] == ["VT0714"]


def test_what_is_wrong_in_another_file_is_placed_there(tmp_path: Path) -> None:
    site = write_site(tmp_path, "properties: {vcpus: {$ref: rules/a.yaml}}", a="# a rule\nmaxQuantity: 4GiB\n")
    (finding,) = lint(site)
    assert finding[:2] == ("VT0710", 2)


# --- the command ------------------------------------------------------------------------------------------------------


def run(site: Path, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(group, ["policy", "lint", "--site", str(site), *arguments], standalone_mode=False)
    assert result.exception is None, result.exception
    return result.return_value, result.stdout, result.stderr


def test_exit_codes(tmp_path: Path) -> None:
    site = write_site(tmp_path, "properties: {vcpus: {maximum: 4}}")
    assert run(site) == (0, "", "1 policy file: 0 errors, 0 warnings\n")
    (site / "policy.yaml").write_text("properties: {memory: {default: 4096}}")
    code, said, counted = run(site)
    assert (code, counted) == (0, "1 policy file: 0 errors, 1 warning\n")
    assert "warning[VT0711]" in said
    (site / "policy.yaml").write_text("properties: {vcpus: {maxmum: 4}}")
    code, said, counted = run(site)
    assert (code, "error[VT0705]" in said) == (1, True)
    (site / "policy.yaml").unlink()
    assert run(site) == (0, "", "0 policy files: 0 errors, 0 warnings\n")


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "text"])
def test_every_format_names_the_code_and_the_file(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_site(tmp_path, "properties: {vcpus: {maxQuantity: 4GiB}}")
    monkeypatch.chdir(tmp_path)
    code, said, _ = run(Path("site"), "--format", form)
    assert code == 1
    assert "VT0710" in said
    assert "site/policy.yaml" in said


def test_json_has_the_place(tmp_path: Path) -> None:
    site = write_site(tmp_path, "properties: {vcpus: {maxQuantity: 4GiB}}")
    (finding,) = map(json.loads, run(site, "--format", "json")[1].splitlines())
    assert (finding["code"], finding["line"], finding["column"], finding["end_column"]) == ("VT0710", 1, 22, 33)


# --- what root leaves out ---------------------------------------------------------------------------------------------

ON_ROOT = [
    "required: [hooks]",
    "properties: {run: {required: [script]}}",
    "properties: {run: {properties: {text: {pattern: '^#!'}}}}",
    "properties: {hooks: {required: [prologue]}}",
    "{if: {required: [env]}, then: {}, else: {required: [hooks]}}",
    "anyOf: [{required: [hooks]}, {required: [env]}]",
    "properties: {vcpus: {maximum: 4}}",
]


@pytest.mark.parametrize("policy", ON_ROOT)
def test_root_leaves_out_what_it_does_not_see(policy: str, tmp_path: Path) -> None:
    """A job that passes the compile is checked again from its machine part, as root's child does."""
    directory = write_site(tmp_path, policy)
    told = {code for code, _, _ in lint(directory)}
    assert ("VT0719" in told) == ("vcpus" not in policy)
    site = open_site(directory, Report())
    assert site is not None
    (tmp_path / "x.sh").write_text("#!/bin/sh\n")
    said = "run: {script: x.sh}" if "script" in policy else 'run: "#!/bin/sh"'
    job = document(f"apiVersion: vtorque/v1\nname: x\nimage: debian-12\nhooks: {{prologue: x.sh}}\n{said}\n")
    context, report = Context("user", (), None, site.batch, site.name), Report()
    checked = check_document(job, tmp_path, site, context, report)
    assert checked is not None, report.items
    found = Report()
    again = job_from_machine_part(machine_part(checked), site, context, found)
    assert again is not None, found.items
    assert found.items == []
