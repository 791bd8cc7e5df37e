"""Measures how the sources are laid out: sizes, doors between modules, cycles of imports.

    python tools/house.py

tests/ asks the same functions, so what they find is a failing test.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

SOURCE = Path(__file__).parents[1] / "src/fastnn"
PYTHON = sorted(SOURCE.rglob("*.py"))
CYTHON = sorted([*SOURCE.rglob("*.pyx"), *SOURCE.rglob("*.pxd")])
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def module_of(path: Path) -> str:
    """fastnn.sklearn.epochs for src/fastnn/sklearn/epochs.py."""
    parts = ("fastnn", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of each function of a Python module; those within a function count as its lines, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, FUNCTIONS):
            yield f"{module_of(path)}.{node.name}", node.end_lineno - node.lineno + 1


def root_modules() -> list[str]:
    """Modules that lie in the package's root, its `__init__` and what is compiled among them."""
    return sorted({path.name.split(".")[0] for path in SOURCE.iterdir() if path.suffix in (".py", ".pyx")})


def imports(path: Path) -> Iterator[str]:
    """The fastnn modules that a Python module imports when it runs, lazily too; not for type checkers alone."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    known = {module_of(other) for other in PYTHON}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typed = {id(child) for node in ast.walk(tree)
             if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) for child in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{base}.{alias.name}" in known:
                    yield f"{base}.{alias.name}"
                elif base in known:
                    yield base


def cycles() -> list[list[str]]:
    """Cycles of imports between modules; a package's `__init__` names what is in it, and is left out."""
    graph = {module_of(path): set(imports(path)) for path in PYTHON if path.name != "__init__.py"}
    graph = {module: targets & graph.keys() - {module} for module, targets in graph.items()}
    found, done = [], set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module):], module])
        elif module not in done:
            for target in sorted(graph[module]):
                visit(target, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def own_names(tree: ast.Module) -> set[str]:
    """Private names that a module defines: attributes of its classes and of `self`, functions, variables."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def foreign_private_names() -> list[str]:
    """Uses of other modules' private names, as `module: line: name`. A class may use what its bases offer it."""
    uses = []
    for path in PYTHON:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = own_names(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
                if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                    uses.append(f"{module_of(path)}: {node.lineno}: {ast.unparse(node)}")
            elif isinstance(node, ast.ImportFrom):
                uses += [f"{module_of(path)}: {node.lineno}: import {alias.name}" for alias in node.names
                         if is_private(alias.name) and not (SOURCE / f"{alias.name}.py").exists()
                         and not list(SOURCE.glob(f"{alias.name}.*"))]
    return uses


def main() -> None:
    files = sorted(((lines_of(path), str(path.relative_to(SOURCE))) for path in PYTHON + CYTHON), reverse=True)
    sizes = sorted((size, name) for path in PYTHON for name, size in functions(path))
    print("biggest files:", *(f"{name} {size}" for size, name in files[:8]), sep="\n    ")
    print("longest Python functions:", *(f"{name} {size}" for size, name in sizes[:-13:-1]), sep="\n    ")
    print(f"median of functions: {median(size for size, _ in sizes)}")
    print(f"modules in the root: {len(root_modules())}: {' '.join(root_modules())}")
    print("cycles:", *(" > ".join(cycle) for cycle in cycles()), sep="\n    ")
    uses = foreign_private_names()
    print(f"foreign private names: {len(uses)}", *uses, sep="\n    ")


if __name__ == "__main__":
    main()
