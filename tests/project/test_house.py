"""The sources keep the rules of the house: sizes, imports without cycles, no use of another module's private names.

tools/house.py finds what breaks them; here it looks at fastnn, and at made-up packages that break one rule each.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import house  # noqa: E402

pytestmark = pytest.mark.any_isa


@pytest.mark.parametrize("check", house.CHECKS)
def test_the_house_is_in_order(check):
    assert house.CHECKS[check](house.SOURCE) == []


def function(lines, indent=""):
    return f"{indent}def f():\n" + f"{indent}    pass\n" * (lines - 1)


GOOD = {
    "__init__.py": "from .a import A\n",
    "_types.py": "from .b import B\n",
    "a.py": "class A:\n    def __init__(self):\n        self._x = 1\n\n    def _f(self):\n        return self._x\n",
    "b.py": ("from typing import TYPE_CHECKING\nfrom .a import A\nif TYPE_CHECKING:\n    from ._types import B\n"
             "class B(A):\n    g = A._f\n    def h(self, torch_module):\n"
             "        return self._x, super()._f(), torch_module._hooks\n"),
    "room/__init__.py": "from .c import f\n",
    "room/c.py": "def f():\n    from .. import a\n    return a.A()\n",
}
BROKEN = {
    "files of too many lines": [{"c.py": "x = 1\n" * 501}, {"room/d.pyx": "x = 1\n" * 501}],
    "functions of too many lines": [
        {"c.py": function(41)}, {"c.py": "class C:\n" + function(41, indent="    ")}],
    "too many modules in the root": [{f"m{number}.py": "" for number in range(15)}],
    "cycles of imports": [
        {"a.py": "from . import b\n"},
        {"a.py": "def f():\n    from pack.room.c import f\n"},
        {"a.py": "import pack.room.d\n", "room/d.py": "from ..b import B\n"},
        {"a.py": "from .room import f\n"},
        {"room/__init__.py": "def f(): pass\ndef g():\n    from ..d import h\n", "d.py": "from .room import f\n"}],
    "imports of types at run time": [{"c.py": "from . import _types\n"}, {"c.py": "from ._types import B\n"}],
    "private names of other modules": [
        {"c.py": "from .a import A\nprint(A()._x)\n"}, {"c.py": "def f(thing):\n    thing._x = 2\n"},
        {"c.py": "from .a import A\nclass C:\n    g = A._f\n"},
        {"c.py": "from .d import _f\n", "d.py": "def _f(): pass\n"}],
}


def made_up(folder, contents):
    for name, text in contents.items():
        path = folder / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "pack"


@pytest.mark.parametrize("check", house.CHECKS)
def test_a_package_that_keeps_the_rules_passes(check, tmp_path):
    assert house.CHECKS[check](made_up(tmp_path, GOOD)) == []


@pytest.mark.parametrize("check, contents", [(check, contents) for check, all_ in BROKEN.items() for contents in all_])
def test_each_check_can_fail(check, contents, tmp_path):
    assert len(house.CHECKS[check](made_up(tmp_path, GOOD | contents))) == 1
    assert BROKEN.keys() == house.CHECKS.keys()


def test_lines_are_those_of_the_code(tmp_path):
    text = 'def f():\n    """One.\n\n    Two.\n    """\n    return 1\n'
    assert house.functions(made_up(tmp_path, {"a.py": text})) == [(2, "pack.a.f")]
