"""What can be said of the pages without building them: names, links, code. `make docs` runs the code and checks the rest."""

import ast
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fastnn

pytestmark = pytest.mark.any_isa

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
MODULES = ["fastnn", "fastnn.activations", "fastnn.interchange", "fastnn.losses", "fastnn.ops", "fastnn.schedules",
           "fastnn.sklearn"]
README_LINKS_FROM = {"contributing.md": ROOT, "changelog.md": ROOT}     # pages that are another file


def name_of(page):
    return page.relative_to(DOCS).as_posix()


def public_names(module):
    """What a module offers: its __all__, or the classes that it defines."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")]
    return [f"{module.__name__}.{name}" for name in names]


def documented_names(text):
    """The names that directives in an API page document."""
    return set(re.findall(r"^\s*\.\. (?:auto)?(?:class|exception|function|data|module):: ([\w.]+)", text, re.MULTILINE))


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_on_an_api_page(module):
    if module == "fastnn.sklearn":
        pytest.importorskip("sklearn.callback", reason="NOT TESTED: scikit-learn 1.9 is not installed")
    documented = set().union(*(documented_names(page.read_text(encoding="utf-8"))
                               for page in (DOCS / "api").glob("*.md")))
    names = public_names(import_module(module))
    assert names and sorted(set(names) - documented) == []


def test_every_public_method_of_a_network_is_on_its_page():
    text = (DOCS / "api/network.md").read_text(encoding="utf-8")
    methods = {name for name in dir(fastnn.Network) if not name.startswith("_") and callable(getattr(fastnn.Network, name))}
    assert methods and methods == set(re.findall(r"automethod:: (\w+)", text.split("autofunction")[0]))


def test_the_check_of_names_can_fail():
    assert "fastnn.Adam" not in documented_names("text with fastnn.Adam\n\n.. autosummary::\n\n   Adam\n")
    assert documented_names(".. autoclass:: fastnn.Fit()\n   .. autofunction:: fastnn.load") == {"fastnn.Fit", "fastnn.load"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    text = re.sub(r"^(`{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in link and not link.startswith("#"):
            assert (page.parent / link.split("#")[0]).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_included_files_and_their_markers_exist(page):
    for file, options in re.findall(r"^```\{include\} (\S+)\n((?::.*\n)*)```", page.read_text(encoding="utf-8"), re.MULTILINE):
        text = (page.parent / file).read_text(encoding="utf-8")
        for marker in re.findall(r'^:(?:start-after|end-before): "(.*)"$', options, re.MULTILINE):
            assert text.count(marker) == 1, marker


def test_every_page_is_reached_from_the_home_page():
    reached, waiting = set(), ["index"]
    while waiting:
        page = DOCS / f"{waiting.pop()}.md"
        if page not in reached:
            reached.add(page)
            for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
                entries = [line for line in tree.split("\n") if line and not line.startswith(":")]
                waiting += [(page.parent / entry).relative_to(DOCS).as_posix() for entry in entries]
    assert sorted(reached) == PAGES


def cells(text):
    """The code of a page that runs when it is built."""
    blocks = re.findall(r"^```\{code-cell\}.*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\A(?::.*\n)+\n?", "", block) for block in blocks]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_parses(page):
    text = page.read_text(encoding="utf-8")
    for block in cells(text) + re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        ast.parse(re.sub(r"^!.*$", "pass", block, flags=re.MULTILINE))
    assert not cells(text) or text.startswith("---\nfile_format: mystnb\n")


def test_code_for_pytorch_runs(tmp_path, capsys):
    pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
    names = {"interchange": fastnn.interchange, "net": fastnn.Network([2, 4, 1], seed=1)}
    before = names["net"]
    exec(re.search(r"```python\n(.*?)```", (DOCS / "howto/deploy.md").read_text(encoding="utf-8"), re.DOTALL)[1], names)
    assert (names["net"].get_parameters() == before.get_parameters()).all() and names["net"] is not before
    assert "tensor" in capsys.readouterr().out


def test_the_home_page_has_the_example_of_the_readme():
    readme = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    home = cells((DOCS / "index.md").read_text(encoding="utf-8"))
    assert home[0] == readme[1]
    assert readme[2].splitlines()[0] in home[1]         # what the page's build asserts


def test_the_pages_need_no_notebook_for_their_figures():
    """Pictures are drawn when the pages are built: only measured ones are files."""
    assert [path.name for path in DOCS.rglob("*.png")] == ["sweep.png"]
