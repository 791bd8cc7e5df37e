"""Makes a Jupyter notebook of each chapter of the guide. docs/conf.py puts them beside the pages.

    python tools/notebooks.py FOLDER        writes the notebooks into FOLDER

A notebook has what people read. Cells that only check numbers (`remove-cell`) are left out. Cells for notebooks alone,
such as sliders, have `notebook-only` too, and are kept. Links to other chapters lead to their notebooks; of other links
the text stays. Jupyter has no footnotes, so these become a list at the end.
"""

import re
import sys
from pathlib import Path

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook

GUIDE = Path(__file__).parent.parent / "docs/guide"
FOOTNOTE = r"^\[\^(\w+)\]: (.*(?:\n(?: {4}.*)?)*)"     # a definition, with its indented lines


def chapters():
    """The Markdown files of the guide that have code, in order."""
    return sorted(GUIDE.glob("[0-9]*.md"))


def as_notebook(text):
    """A page of the guide as a notebook."""
    notebook = read_myst_markdown_notebook(text)
    notebook.cells = [cell for cell in notebook.cells if shown(cell.metadata.get("tags", []))]
    notes = {}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"       # the same file for the same page
        cell.metadata.clear()
        if cell.cell_type == "markdown":
            cell.source = for_jupyter(cell.source, notes)
    if notes:
        lines = [f"{number}. {notes[name]}" for number, name in enumerate(notes, 1)]
        notebook.cells.append(nbformat.v4.new_markdown_cell("## Footnotes\n\n" + "\n".join(lines), id="footnotes"))
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return notebook


def shown(tags):
    """Whether a cell with these tags is part of the notebook."""
    return "notebook-only" in tags or "remove-cell" not in tags


def for_jupyter(text, notes):
    """Markdown that Jupyter understands. Footnotes are added to `notes` {name: text}, in the order of their mention."""
    defined = {name: re.sub(r"\s*\n\s*", " ", note).strip()
               for name, note in re.findall(FOOTNOTE, text, re.MULTILINE)}
    text = re.sub(FOOTNOTE, "", text, flags=re.MULTILINE)

    def mark(match):
        notes.setdefault(match[1], "")
        return f"<sup>{list(notes).index(match[1]) + 1}</sup>"
    text = re.sub(r"\[\^(\w+)\]", mark, text)
    for name, note in defined.items():
        notes[name] = linked(note)
    return linked(text).strip()


def linked(text):
    """Links between chapters lead to notebooks; of links to other pages the text stays. Terms of the glossary, too."""
    text = re.sub(r"\{term\}`([^`<]+?)(?: ?<[^>]*>)?`", r"\1", text)
    text = re.sub(r"\]\((\d\d-[\w-]+)\.md(#[^)]*)?\)", r"](\1.ipynb)", text)
    return re.sub(r"(?<!!)\[([^\]^]+)\]\((?!https?:)[^)]*\.md[^)]*\)", r"\1", text)


def write(folder):
    """Writes the notebook of each chapter into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in chapters():
        nbformat.write(as_notebook(chapter.read_text(encoding="utf-8")), folder / f"{chapter.stem}.ipynb")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
