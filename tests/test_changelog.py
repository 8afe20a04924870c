"""The changelog names the version and the format of every kind of file, as the code has them."""

import ast
import re

import dp_base
from tests.source import ROOT, modules

LOG = (ROOT / "CHANGELOG.md").read_text()
NEWEST = LOG.split("\n## ")[1]


def formats():
    """The number FORMAT of each module that has one."""
    found = {}
    for name, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "FORMAT":
                found[name] = ast.literal_eval(node.value)
    return found


def test_its_newest_version_is_this_one():
    assert NEWEST.splitlines()[0] == dp_base.__version__


def test_its_table_of_formats_is_that_of_the_code():
    table = re.findall(r"^\| .* \| (\d+) \| `([\w.]+)` \|$", NEWEST, re.MULTILINE)
    assert {module: int(number) for number, module in table} == formats()
