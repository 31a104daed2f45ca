"""Data to YAML 1.1, which is what cloud-init's reader (PyYAML) reads."""

import io
import re

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

_LINES = re.compile(r"[ -~\n]*")
_DIRECTIVE = "%YAML 1.1\n---\n"


class _Representer(SafeRepresenter):
    """Writes plain text of several lines as a block, for people who look into a seed; ends of lines other than \\n,
    of which YAML 1.1 knows five, as escapes.
    """

    def represent_str(self, data: str) -> ScalarNode:
        style = None if data.isprintable() else "|" if _LINES.fullmatch(data) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def to_yaml(data: dict[str, object]) -> str:
    """Return `data` as a YAML 1.1 document: text that 1.1 would read as a number, a date or a boolean is quoted.

    Without the `%YAML` directive: PyYAML needs none, and a file is known to cloud-init by its first line.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.version = (1, 1)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # ruamel annotates it as None
    yaml.width = 2**31  # long values stay on one line
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue().removeprefix(_DIRECTIVE)
