"""What can be said of the pages without building them: names, links, code. `make docs` runs the code."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from helpers import ROOT

import fastnn
from fastnn.population.history import PopulationHistory

pytestmark = pytest.mark.any_isa

DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
MODULES = ["fastnn", "fastnn.activations", "fastnn.diagnostics", "fastnn.distributed", "fastnn.interchange",
           "fastnn.losses", "fastnn.ops", "fastnn.plot", "fastnn.schedules", "fastnn.sklearn"]
PYTHON = r"^```python\n(.*?)^```"


def public_names(module):
    """What a module offers: its __all__, or the classes that it defines."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")]
    return [f"{module.__name__}.{name}" for name in names]


def documented_names(text):
    """What the directives in an API page document."""
    return set(re.findall(r"^ *\.\. (?:auto)?(?:class|exception|function|data|module):: ([\w.]+)", text, re.MULTILINE))


def cells(text):
    """The code of a page that runs when it is built, without the cells' options."""
    return [re.sub(r"\A(?::.*\n)+\n?", "", block) for block in blocks(r"^```\{code-cell\}\n(.*?)^```", text)]


def blocks(pattern, text):
    return re.findall(pattern, text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_on_an_api_page(module):
    documented = set().union(*(documented_names(text) for page, text in PAGES.items() if page.startswith("api/")))
    names = public_names(import_module(module))
    assert names and sorted(set(names) - documented) == []


def public_methods(kind):
    return {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}


def test_every_method_of_a_network_is_on_its_page():
    network, _ = PAGES["api/network.md"].split("autofunction:: fastnn.load")
    methods = public_methods(fastnn.Network)
    assert methods and methods == set(re.findall(r"automethod:: (\w+)", network))


def test_every_method_of_a_population_is_on_its_page():
    population, history = PAGES["api/population.md"].split("autoclass:: fastnn.PopulationHistory")
    for_modules = {"build", "mean_losses", "outputs"}       # for other modules of population/
    methods = public_methods(fastnn.Population)
    assert for_modules < methods and methods - for_modules == set(re.findall(r"automethod:: (\w+)", population))
    assert public_methods(PopulationHistory) == set(re.findall(r"automethod:: (\w+)", history))


def test_the_check_of_names_can_fail():
    assert documented_names("fastnn.Adam\n\n.. autosummary::\n\n   Adam\n") == set()
    assert documented_names(".. autoclass:: fastnn.Fit()\n   .. autofunction:: fastnn.load\n") == {
        "fastnn.Fit", "fastnn.load"}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    prose = re.sub(r"^(`{3,}).*?^\1", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" not in link and not link.startswith("#"):
            assert ((DOCS / page).parent / link.split("#")[0]).exists(), link


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "```{include}" in text])
def test_what_is_included_is_there_with_its_markers(page):
    for file, options in re.findall(r"^```\{include\} (\S+)\n((?::.*\n)*)", PAGES[page], re.MULTILINE):
        text = ((DOCS / page).parent / file).read_text(encoding="utf-8")
        for marker in re.findall(r'^:(?:start-after|end-before): "(.*)"$', options, re.MULTILINE):
            assert text.count(marker) == 1, marker


def test_every_page_is_in_a_table_of_contents():
    listed = {"index.md"}
    for page, text in PAGES.items():
        for tree in blocks(r"^```\{toctree\}\n(.*?)^```", text):
            for line in tree.splitlines():
                if line and not line.startswith(":"):
                    name = re.sub(r".*<(.*)>", r"\1", line)
                    listed.add((Path(page).parent / f"{name}.md").as_posix())
    assert sorted(listed) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_code_parses(page):
    text = PAGES[page]
    assert not cells(text) or text.startswith("---\nfile_format: mystnb\n"), "its cells would not run"
    assert len(cells(text)) == text.count("```{code-cell}")
    for code in cells(text) + blocks(PYTHON, text):
        if not code.startswith("%%bash\n"):
            ast.parse(re.sub(r"^%%writefile .*\n", "", code))


def test_cells_are_found():
    assert sum(len(cells(text)) for text in PAGES.values()) > 50


def test_code_for_pytorch_runs(capsys):
    pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
    before = fastnn.Network([2, 4, 1], seed=1)
    names = {"interchange": fastnn.interchange, "net": before}
    exec(*blocks(PYTHON, PAGES["howto/deploy.md"]), names)
    assert names["net"] is not before and (names["net"].get_parameters() == before.get_parameters()).all()
    assert "tensor" in capsys.readouterr().out


def test_code_of_the_page_for_users_of_pytorch_runs():
    torch = pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
    torch.manual_seed(0)
    names = {}
    for block in blocks(PYTHON, PAGES["coming-from/pytorch.md"]):
        exec(block, names)
    x = names["X"]
    logits, outputs = names["model"](x), names["module"](x)
    assert names["net"].loss == "cross_entropy"
    assert torch.allclose(torch.softmax(logits, dim=1), outputs, atol=1e-6)
    assert abs(names["net"].predict(x.numpy()) - outputs.detach().numpy()).max() < 1e-6


def test_the_only_code_that_does_not_run_is_the_one_for_pytorch():
    """The solutions of exercises are shown as plain blocks, and run as part of a hidden cell."""
    pages = {page for page, text in PAGES.items()
             if any(block not in "".join(cells(text)) for block in blocks(PYTHON, text))}
    assert pages == {"howto/deploy.md", "coming-from/pytorch.md"}


def test_the_home_page_has_the_example_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, printed = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", readme, re.DOTALL).groups()
    shown, asserted = cells(PAGES["index.md"])
    assert shown == code
    assert printed.splitlines()[0] in asserted


def test_pictures_are_drawn_when_the_pages_are_built():
    """Only what was measured is a file, and the README's picture, which an example draws."""
    files = {path.name for kind in ("png", "svg") for path in DOCS.rglob(f"*.{kind}")}
    assert files == {"scaling.png", "sweep.png", "speed.svg", "spirals.png"}
