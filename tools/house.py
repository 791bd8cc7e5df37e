"""Measures how the sources are laid out, and says where a rule of the house is broken.

    python tools/house.py

prints the figures and what breaks a rule. test_house.py asks the same functions. Each check of CHECKS takes the
folder of a package, and returns a line for each finding.
"""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import median

SOURCE = Path(__file__).parents[1] / "src/fastnn"
MOST_FILE_LINES = 500
MOST_FUNCTION_LINES = 40
MOST_ROOT_MODULES = 18
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Private names of other libraries that are also private names of ours: (the module that uses it, the name).
OTHERS = {("fastnn.interchange.sklearn", "_optimizer")}        # scikit-learn's


def python_files(source: Path) -> list[Path]:
    return sorted(source.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_of(source: Path, path: Path) -> str:
    """fastnn.sklearn.epochs for src/fastnn/sklearn/epochs.py."""
    parts = (source.name, *path.relative_to(source).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# Sizes

def files(source: Path) -> list[tuple[int, str]]:
    """(lines, file) of everything that is written in Python or Cython, the longest first."""
    paths = [path for kind in ("*.py", "*.pyx", "*.pxd") for path in source.rglob(kind)]
    return sorted(((len(path.read_text(encoding="utf-8").splitlines()), str(path.relative_to(source)))
                   for path in paths), reverse=True)


def functions(source: Path) -> list[tuple[int, str]]:
    """(lines, name) of each Python function, the longest first. Docstrings do not count: they are the manual. The lines
    of a function within a function count for both."""
    found = []
    for path in python_files(source):
        for node in ast.walk(parsed(path)):
            if isinstance(node, FUNCTIONS):
                text = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
                documented = text.end_lineno - text.lineno + 1 if text is not None else 0
                found.append((node.end_lineno - node.lineno + 1 - documented, f"{module_of(source, path)}.{node.name}"))
    return sorted(found, reverse=True)


def root_modules(source: Path) -> list[str]:
    """Modules that lie in the package's root, its `__init__` and what is compiled among them."""
    return sorted({path.name.split(".")[0] for path in source.iterdir() if path.suffix in (".py", ".pyx")})


def long_files(source: Path) -> list[str]:
    return [f"{name} has {size} lines" for size, name in files(source) if size > MOST_FILE_LINES]


def long_functions(source: Path) -> list[str]:
    return [f"{name} has {size} lines" for size, name in functions(source) if size > MOST_FUNCTION_LINES]


def crowded_root(source: Path) -> list[str]:
    modules = root_modules(source)
    return [f"{len(modules)} modules: {' '.join(modules)}"] if len(modules) > MOST_ROOT_MODULES else []


# Imports

def imports(source: Path, path: Path) -> Iterator[str]:
    """The package's modules that a module imports when it runs, lazily too; not for type checkers alone. A name that
    an `__init__` passes on counts as an import of the module that it comes from."""
    known = {module_of(source, other): other for other in python_files(source)}
    typed = {id(child) for node in ast.walk(parsed(path))
             if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) for child in ast.walk(node)}
    for node in ast.walk(parsed(path)):
        if id(node) in typed:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = origin(source, path, node)
            for alias in node.names:
                if f"{base}.{alias.name}" in known:
                    yield f"{base}.{alias.name}"
                elif base in known:
                    yield home_of(source, known[base], alias.name)


def origin(source: Path, path: Path, node: ast.ImportFrom) -> str:
    """The module that a `from … import` of another module names."""
    package = module_of(source, path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    base = package[:len(package) - node.level + 1] if node.level else []
    return ".".join([*base, *([node.module] if node.module else [])])


def home_of(source: Path, path: Path, name: str) -> str:
    """The module from which an `__init__` has a name; itself for one that it defines, and for other modules."""
    known = {module_of(source, other) for other in python_files(source)}
    if path.name == "__init__.py":
        for node in parsed(path).body:
            if (isinstance(node, ast.ImportFrom) and (base := origin(source, path, node)) in known
                    and name in (alias.asname or alias.name for alias in node.names)):
                return base
    return module_of(source, path)


def cycles(source: Path) -> list[str]:
    """Cycles of imports between modules. Python's own import of a package's `__init__` before a module is no edge."""
    graph = {module_of(source, path): set(imports(source, path)) for path in python_files(source)}
    graph = {module: targets - {module} for module, targets in graph.items()}
    found, done = [], set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append(" > ".join([*path[path.index(module):], module]))
        elif module not in done:
            for target in sorted(graph[module]):
                visit(target, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def types_at_run_time(source: Path) -> list[str]:
    """Modules that import `_types` when they run: it names everything, so that would be a cycle."""
    types = f"{source.name}._types"
    return [f"{module_of(source, path)} imports {types}"
            for path in python_files(source) if types in imports(source, path)]


# Doors

def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def is_own(node: ast.expr) -> bool:
    """Whether this is `self`, `cls` or `super()`."""
    return ast.unparse(node) in ("self", "cls", "super()")


def own_names(tree: ast.Module) -> set[str]:
    """Private names that a module defines: functions, classes, variables, what classes declare and `self` gets."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            names.add(node.attr)
    return {name for name in names if is_private(name)}


def through_a_base(tree: ast.Module) -> set[int]:
    """The ids of attributes `Base._name` within a class that is derived from Base."""
    return {id(node) for derived in ast.walk(tree) if isinstance(derived, ast.ClassDef)
            for node in ast.walk(derived) if isinstance(node, ast.Attribute)
            and ast.unparse(node.value) in map(ast.unparse, derived.bases)}


def foreign_private_names(source: Path) -> list[str]:
    """Uses of private names that another module of the package defines. A class may use those of its bases, by
    `self`, `cls`, `super()` or the base's name; names that no module defines belong to other libraries."""
    stubs = [*python_files(source), *sorted(source.rglob("*.pyi"))]
    defined = set().union(*(own_names(parsed(path)) for path in stubs))
    uses = []
    for path in python_files(source):
        tree, module = parsed(path), module_of(source, path)
        own, inherited = own_names(tree), through_a_base(tree)
        for node in ast.walk(tree):
            if (isinstance(node, ast.Attribute) and node.attr in defined - own and not is_own(node.value)
                    and id(node) not in inherited and (module, node.attr) not in OTHERS):
                uses.append(f"{module}: line {node.lineno}: {ast.unparse(node)}")
        uses += [f"{module}: imports {name}" for name in private_imports(source, path)]
    return uses


def private_imports(source: Path, path: Path) -> Iterator[str]:
    """The private names, other than modules, that a module imports from others of the package."""
    known = {module_of(source, other) for other in python_files(source)}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            base = origin(source, path, node)
            stem = source.joinpath(*base.split(".")[1:])
            for alias in node.names:
                if base in known and is_private(alias.name) and not list(stem.glob(f"{alias.name}.*")):
                    yield f"{base}.{alias.name}"


CHECKS: dict[str, Callable[[Path], list[str]]] = {
    "files of too many lines": long_files, "functions of too many lines": long_functions,
    "too many modules in the root": crowded_root, "cycles of imports": cycles,
    "imports of types at run time": types_at_run_time,
    "private names of other modules": foreign_private_names,
}


def main() -> None:
    print("biggest files:", *(f"{name} {size}" for size, name in files(SOURCE)[:5]), sep="\n    ")
    sizes = functions(SOURCE)
    print("longest Python functions:", *(f"{name} {size}" for size, name in sizes[:5]), sep="\n    ")
    print(f"median of functions: {median(size for size, _ in sizes)}")
    print(f"modules in the root: {len(root_modules(SOURCE))}")
    for name, check in CHECKS.items():
        findings = check(SOURCE)
        print(f"{name}: {len(findings)}", *findings, sep="\n    ")


if __name__ == "__main__":
    main()
