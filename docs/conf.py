"""How Sphinx builds the pages. `make docs` runs it with warnings as errors.

Pages are MyST Markdown; those that begin with `file_format: mystnb` have code that runs, each in a folder
of its own, whenever the pages are built, and a cell that raises ends the build. Nothing is fetched, neither
while building nor by who reads: MathJax is copied into the pages, and no other project's inventory is asked.
"""

import os
import re
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes

import fastnn

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import notebooks

project = "fastnn"
author = "The fastnn developers"
copyright = author
release = version = fastnn.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
nitpicky = True
smartquotes_action = "De"   # dashes, and no curly quotes: "mse" in a docstring is code

# `python` in a page is the one that builds it, and pictures look alike.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
os.environ["MATPLOTLIBRC"] = os.path.join(os.path.dirname(os.path.abspath(__file__)), "matplotlibrc")
# What runs the code keeps its files beside the pages: a home may be read-only.
for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
    os.environ[name] = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build/jupyter")

# Pages and the code in them
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 60
nb_merge_streams = True
copybutton_exclude = ".linenos, .gp, .go"

# The API, from docstrings. These say what arguments are in words, so signatures go without annotations.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

# Looks
html_theme = "furo"
html_title = f"fastnn {release}"
html_static_path = ["_static"]
html_css_files = ["fastnn.css", "gallery.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathjax"
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}, "chtml": {"scale": 0.95}}
viewcode_line_numbers = True
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5fa8", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#7ab0ea", "color-brand-content": "#7ab0ea"},
}

# `../CONTRIBUTING.md` is right in the repository; here the same text is a page.
PAGES = {"../CONTRIBUTING.md": "contributing.md", "../CHANGELOG.md": "changelog.md"}
PUBLIC = r"fastnn(\.\w+)+(\(\))?"


def linked_to_pages(app, docname, source):
    for file, page in PAGES.items():
        source[0] = source[0].replace(f"]({file})", f"]({page})")


def sections_ended(app, what, name, obj, options, lines):
    """A paragraph after a list of parameters is a paragraph; napoleon takes it for one more of them."""
    for i in range(len(lines) - 1, 0, -1):
        heading = lines[i + 1:i + 2] and re.fullmatch("-{3,}", lines[i + 1])
        if lines[i] and not lines[i].startswith(" ") and not lines[i - 1] and not heading:
            lines.insert(i, "")


def marked_up(app, what, name, obj, options, lines):
    """Docstrings have `code` in single backticks: literal text, but a link where it is a public name."""
    def markup(match):
        text = " ".join(match[1].split())
        if "\n\n" in match[1]:
            return match[0]
        return f":py:obj:`{text.removesuffix('()')}`" if re.fullmatch(PUBLIC, text) else f"``{text}``"
    lines[:] = re.sub(r"(?<![`:])`([^`]+)`(?!`)", markup, "\n".join(lines)).split("\n")


def units_kept(app, doctree):
    """In a table a number and its unit stay on one line."""
    for cell in doctree.findall(nodes.entry):
        for text in list(cell.findall(nodes.Text)):
            kept = re.sub(r"(?<=\d) (?=(?:µs|ms|s)\b)", "\N{NO-BREAK SPACE}", text)
            if kept != text:
                text.parent.replace(text, nodes.Text(kept))


def mathjax_copied(app, exception):
    """The files of MathJax that set formulas, from the package that has them all."""
    if app.builder.format != "html" or exception:
        return
    for file in distribution("sphinx-mathjax-offline").files:
        path = file.as_posix().partition("/static/")[2]
        if path == mathjax_path or path.startswith("mathjax/output/chtml/fonts/woff-v2/"):
            target = Path(app.outdir, "_static", path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)


def notebook_offered(app, docname, source):
    """A chapter of the guide can be downloaded as a notebook."""
    if re.match(r"guide/\d", docname):
        link = f'<p class="notebook"><a href="{docname[6:]}.ipynb" download>Download this chapter as a notebook</a></p>'
        source[0] = re.sub(r"^(# .*)$", rf"\1\n\n{link}", source[0], count=1, flags=re.MULTILINE)


def notebooks_written(app, exception):
    if app.builder.format == "html" and not exception:
        notebooks.write(Path(app.outdir, "guide"))


def setup(app):
    app.connect("source-read", linked_to_pages)
    app.connect("source-read", notebook_offered)
    app.connect("autodoc-process-docstring", sections_ended, priority=400)
    app.connect("autodoc-process-docstring", marked_up, priority=400)
    app.connect("doctree-read", units_kept)
    app.connect("build-finished", mathjax_copied)
    app.connect("build-finished", notebooks_written)
    return {"parallel_read_safe": True}
