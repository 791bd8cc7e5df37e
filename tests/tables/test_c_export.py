"""The model of a table as a C header: it computes what the model computes, from cells to the answer, and tests itself.

Compilers warn of all they can, and no warning is let through.
"""

import ctypes
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import tables_to_export as tables

from fastnn.tables.c_columns import member_names
from fastnn.tables.c_export import to_c
from fastnn.tables.recipe import Recipe

pytestmark = pytest.mark.any_isa
CC, CXX = shutil.which("cc"), shutil.which("c++")
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion", "-Wdouble-promotion", "-O1"]
needs_cc = pytest.mark.skipif(CC is None, reason="NOT TESTED: there is no C compiler")
needs_cxx = pytest.mark.skipif(CC is None or CXX is None, reason="NOT TESTED: there is no C or C++ compiler")


def compile_in(folder, *arguments):
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


def compiled(folder, name="model"):
    """NAME.h as a function: columns -> (outputs (n, outputs), what `predict` returns (n,))."""
    (folder / "all.c").write_text(
        f'#include "{name}.h"\nint run(const {name}_row *row, double *output);\nconst char *called(int index);\n'
        f"int run(const {name}_row *row, double *output) {{ return {name}_predict(row, output); }}\n", encoding="utf-8")
    compile_in(folder, CC, "-std=c99", *STRICT, "-shared", "-fPIC", "all.c", "-o", "all.so", "-lm")
    function = ctypes.CDLL(str(folder / "all.so")).run
    function.argtypes = [ctypes.c_void_p] * 2
    outputs = int(re.search(r"_OUTPUTS (\d+)", (folder / f"{name}.h").read_text(encoding="utf-8"))[1])

    def run(columns):
        fields = [(f"column_{index}", ctypes.c_char_p if column.kind == "category" else ctypes.c_double)
                  for index, column in enumerate(columns.values())]
        row_type = type("Row", (ctypes.Structure,), {"_fields_": fields})
        values = [tables.seconds(column.values) if column.kind == "date" else
                  [None if text is None else text.encode() for text in column.values]
                  if column.kind == "category" else column.values for column in columns.values()]
        result = [np.full(outputs, np.nan) for _ in values[0]]
        returned = [function(ctypes.byref(row_type(*row)), output.ctypes.data)
                    for output, row in zip(result, zip(*values, strict=True), strict=True)]
        return np.array(result), np.array(returned)
    return run


@needs_cc
def test_features_are_those_of_the_encoding(tmp_path):
    """Gaps, texts never seen, spellings, huge numbers, infinities, dates of all times."""
    recipe, networks = tables.transparent()
    to_c(recipe, networks, tmp_path / "model.h")
    run = compiled(tmp_path)
    for columns in (tables.COLUMNS, tables.hard_columns(), tables.moments(5000)):
        features, _ = run(columns)
        np.testing.assert_allclose(features, recipe.encoding.apply(tables.as_read(columns)), rtol=2e-7, atol=1e-30)


@needs_cc
@pytest.mark.parametrize("members", [1, 3])
def test_classes_and_probabilities(members, tmp_path):
    recipe, networks = tables.model(("no", "yes", "\U0001f600"), members)
    to_c(recipe, networks, tmp_path / "model.h")
    run = compiled(tmp_path)
    for columns in (tables.COLUMNS, tables.hard_columns()):
        expected = recipe.answers(networks, tables.as_read(columns))
        probabilities, returned = run(columns)
        np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
        assert (returned == expected.argmax(axis=1)).all() and len(set(returned)) > 1
    (tmp_path / "names.c").write_text('#include <stdio.h>\n#include "model.h"\nint main(void) { int i; for (i = 0; '
                                      "i < MODEL_OUTPUTS; i++) puts(model_class(i)); return 0; }\n", encoding="utf-8")
    compile_in(tmp_path, CC, "-std=c99", *STRICT, "names.c", "-lm", "-o", "names")
    assert subprocess.run([tmp_path / "names"], capture_output=True).stdout.decode() == "no\nyes\n\U0001f600\n"


@needs_cc
@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (-3.5, 1e-6), (1.7e9, 0.1)])
def test_a_number(mean, scale, tmp_path):
    """Also one whose digits float32 would lose."""
    recipe, networks = tables.model(mean=mean, scale=scale)
    to_c(recipe, networks, tmp_path / "model.h")
    columns = tables.hard_columns()
    numbers, returned = compiled(tmp_path)(columns)
    expected = recipe.answers(networks, tables.as_read(columns))
    np.testing.assert_allclose(numbers[:, 0] - mean, expected - mean, atol=1e-5 * scale)
    assert np.ptp(numbers) > 0.1 * scale and not returned.any()
    assert failures(tmp_path) == 0


@needs_cc
@pytest.mark.parametrize("names", [["age"], ["class"], ["дата"], ["class_2", "CLASS"], ["always 3"], [""]])
def test_a_table_of_few_columns(names, tmp_path):
    """What no column needs is not in the header."""
    recipe, networks = tables.model(("a", "b"), columns=names)
    to_c(recipe, networks, tmp_path / "model.h")
    columns = {name: column for name, column in tables.hard_columns().items() if name in names}
    expected = recipe.answers(networks, tables.as_read(columns))
    np.testing.assert_allclose(compiled(tmp_path)(columns)[0], expected, rtol=1e-5)
    text = (tmp_path / "model.h").read_text(encoding="utf-8")
    defined = set(re.findall(r"^static inline .*?(model_\w+)\(", text, re.MULTILINE))
    assert {function for function in defined if text.count(f"{function}(") == 1} <= {"model_class"}


@needs_cxx
def test_a_header_compiles_as_c_and_as_cpp(tmp_path):
    """Twice included, in more than one dialect, with constants in a memory of another kind."""
    to_c(*tables.model(("no", "yes")), tmp_path / "model.h")
    to_c(*tables.model(hidden=()), tmp_path / "other.h")
    source = '#include "model.h"\n#include "other.h"\n#include "model.h"\nint unused;\n'
    (tmp_path / "a.c").write_text(source, encoding="utf-8")
    (tmp_path / "a.cpp").write_text(source, encoding="utf-8")
    for command in ([CC, "-std=c99", "a.c"], [CC, "-std=gnu17", "a.c"], [CXX, "-std=c++11", "a.cpp"],
                    [CXX, "-std=gnu++20", "a.cpp"]):
        compile_in(tmp_path, *command, *STRICT, "-DMODEL_SELF_TEST", "-c", "-o", "a.o")
    for command in ([CC, "-std=c99", "-x", "c"], [CXX, "-std=c++11", "-x", "c++"]):
        options = ["-DMODEL_MEMORY=volatile", "-DMODEL_SELF_TEST_MAIN"]
        compile_in(tmp_path, *command, *STRICT, *options, "model.h", "-lm", "-o", "test")
        subprocess.run([tmp_path / "test"], check=True, capture_output=True)


def failures(folder):
    """How many recorded rows of model.h fail."""
    compile_in(folder, CC, "-std=c99", "-DMODEL_SELF_TEST_MAIN", "-x", "c", "model.h", "-lm", "-o", "test")
    done = subprocess.run([folder / "test"], capture_output=True, text=True)
    said = re.fullmatch(r"(\d) of 8 recorded predictions failed\n", done.stdout)
    assert done.returncode == (said[1] != "0")
    return int(said[1])


@needs_cc
def test_the_self_test_notices_mistakes(tmp_path):
    """In the statement of any column, in a function that columns share, in the networks."""
    to_c(*tables.model(scale=1e-3), tmp_path / "model.h")
    text = (tmp_path / "model.h").read_text(encoding="utf-8")
    assert failures(tmp_path) == 0
    mistakes = [("z / 3", "z / 4"), ("? median :", "? 0 :"), ("(float)gap", "0"), ("month / 10", "month / 9"),
                ("+ 3) % 7", "+ 4) % 7"), ("second / 3600", "second / 1800"), ("i == place", "i == 0"),
                ("-= day * 86400", "-= 0"), ("model_weights_1 + member", "model_weights_1 + 0 * member"),
                ("model_gelu(even", "if (0) model_gelu(even")]
    shifted = r"number\(to, (.*?), (\S+), (\S+), (\d)", r"number(to, \1 + 0.5 * \3, \2, \3, \4"
    misplaced = r", (model_category.*), (\d+)\)", r", (\1 + 1) % \2, \2)"
    for line in re.findall(r"    to = model_\w+\(.*;\n", text):
        mistakes.append((line, re.sub(*(shifted if "_number(" in line else misplaced), line)))
    assert len(mistakes) > 10 + len(tables.TABLE)
    for right, wrong in mistakes:
        assert right in text and right != wrong
        (tmp_path / "model.h").write_text(text.replace(right, wrong), encoding="utf-8")
        assert failures(tmp_path) > 0, right


def test_the_comment_holds_the_recipe(tmp_path):
    recipe, networks = tables.model(("no */ /* \u2028 ??/", "yes\ud800"))
    (tmp_path / "other").mkdir()
    for path in ("model.h", "other/model.h"):
        to_c(recipe, networks, tmp_path / path)
    text = (tmp_path / "model.h").read_text(encoding="utf-8")
    assert text == (tmp_path / "other" / "model.h").read_text(encoding="utf-8")
    comment = text[:text.index("#ifndef")]
    assert comment.count("*/") == comment.count("/*") == 1 and "??" not in comment
    lines = comment[comment.index("\n * {") + 1:comment.index("\n */")].splitlines()
    assert Recipe.from_metadata(json.loads("".join(line.removeprefix(" *") for line in lines))) == recipe
    assert len(lines) > len(tables.TABLE)


@needs_cc
def test_texts_with_nul_characters_are_not_confused_with_others(tmp_path):
    """Frames may hold them: a category that C cannot write is never met."""
    column = tables.Column("class", "category", ["a\0b", "a\0b", "a", "a", "c", "c"], "", tables.Reading("category"))
    encoding = tables.Encoding.of({"class": column}, range(6))
    _, [network] = tables.model(("x", "y", "z"), members=1, columns=["class_2"], hidden=())
    network = tables.fastnn.Network([3, 3])
    network.weights[0][...] = np.eye(3)
    recipe = Recipe("y", {"class": column.reading}, encoding, ("x", "y", "z"))
    to_c(recipe, [network], tmp_path / "model.h")
    outputs, _ = compiled(tmp_path)({"class": tables.Column("class", "category", ["a", "c", "b"], "", column.reading)})
    assert outputs.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("columns, names", [
    (["age", "Age", "AGE", "age"], ["age", "Age", "age_2", "age_3"]), (["two words", "two_words"],
                                                                       ["two_words", "two_words_2"]),
    (["", "0", "é", "class", "NAN", "linux", "a" * 100], ["column", "column_0", "u00e9", "class_", "nan", "linux_",
                                                          "a" * 60]),
    (["x_2", "x", "x "], ["x_2", "x", "x_3"]), (["CO_GT", "T", "[Na+]"], ["co_gt", "t", "Na"])])
def test_names_of_members(columns, names):
    assert member_names(columns) == names


@pytest.mark.parametrize("spoil, words", [
    *tables.REFUSED, (lambda recipe, networks: [networks[0], tables.broken(networks[1])], "hold NaN or infinity")])
def test_networks_of_another_table_are_refused(spoil, words, tmp_path):
    recipe, networks = tables.model()
    with pytest.raises(ValueError, match=words):
        to_c(recipe, spoil(recipe, networks), tmp_path / "model.h")
    with pytest.raises(ValueError, match="name of a header of the C library"):
        to_c(recipe, networks, tmp_path / "math.h")
    assert not list(tmp_path.iterdir())
