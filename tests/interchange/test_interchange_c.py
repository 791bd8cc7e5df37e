"""A network goes out as a C header: it computes what the network computes, and tests itself.

Compilers warn of all they can, and no warning is let through.
"""

import copy
import ctypes
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from example_networks import DTYPES, X, error, filled, network_of

import fastnn
from fastnn.activations import ACTIVATIONS, HIDDEN
from fastnn.interchange import to_c

pytestmark = pytest.mark.any_isa
CC, CXX = shutil.which("cc"), shutil.which("c++")
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2"]
needs_cc = pytest.mark.skipif(CC is None, reason="NOT TESTED: there is no C compiler")


def compiled(folder, networks, flags=()):
    """{name: network} as functions of arrays (n, n_inputs), from one library that includes all headers."""
    source = ""
    for name, network in networks.items():
        to_c(network, folder / f"{name}.h")
        kind = "float" if network.dtype == "float32" else "double"
        source += (f'#include "{name}.h"\nvoid run_{name}(const {kind} *x, {kind} *y);\n'
                   f"void run_{name}(const {kind} *x, {kind} *y) {{ {name}_predict(x, y); }}\n")
    (folder / "all.c").write_text(source, encoding="utf-8")
    subprocess.run([CC, "-std=c99", *STRICT, *flags, "-shared", "-fPIC", "all.c", "-o", "all.so", "-lm"], cwd=folder,
                   check=True, capture_output=True, text=True)
    library = ctypes.CDLL(str(folder / "all.so"))

    def runner(name, network):
        function = getattr(library, f"run_{name}")
        function.argtypes, function.restype = [ctypes.c_void_p] * 2, None

        def run(X):
            outputs = np.full((len(X), network.layer_sizes[-1]), np.nan, network.dtype)
            for x, y in zip(np.ascontiguousarray(X, network.dtype), outputs, strict=True):
                function(x.ctypes.data, y.ctypes.data)
            return outputs
        return run
    return {name: runner(name, network) for name, network in networks.items()}


@needs_cc
def test_c_computes_what_the_network_computes(tmp_path):
    """Every activation and dtype, with pre-activations of the usual size."""
    networks = {f"{activation}_{dtype}": network_of(activation, dtype)
                for activation in ACTIVATIONS for dtype in DTYPES}
    for name, run in compiled(tmp_path, networks).items():
        bound = 2e-6 if name.endswith("32") else 1e-14      # fused multiply-adds here, none there
        assert error(run(X), networks[name].predict(X)) < bound, name


@needs_cc
def test_c_stays_finite_where_the_network_does(tmp_path):
    """One layer that hands on what comes: pre-activations up to the edge of overflow."""
    networks = {}
    for activation in ACTIVATIONS:
        for dtype in DTYPES:
            network = networks[f"{activation}_{dtype}"] = fastnn.Network([3, 3], output=activation, dtype=dtype)
            network.weights[0][...] = np.eye(3)
    for name, run in compiled(tmp_path, networks).items():
        largest = 85 if name.startswith("exp_") else 1e4
        steps = np.geomspace(1e-6, largest, 300)
        z = np.concatenate([-steps[::-1], [0], steps, [88, 89, -88, -104, 709, -746][:0 if largest == 85 else 6]])
        z = np.stack([z, np.zeros_like(z), -z / 2], axis=1)
        expected = networks[name].predict(z)
        assert np.isfinite(expected).all(), name
        assert error(run(z), expected) < (1e-6 if name.endswith("32") else 1e-13), name
        if not name.startswith(("relu", "softmax")):
            assert np.isnan(run(np.full((1, 3), np.nan))).all(), name


@needs_cc
def test_random_networks_in_c(tmp_path):
    """Thirty architectures in one library."""
    rng = np.random.default_rng(8)
    networks = {}
    for index in range(30):
        sizes = rng.integers(1, 40, size=rng.integers(2, 7)).tolist()
        networks[f"net_{index}"] = filled(fastnn.Network(
            sizes, activation=rng.choice(sorted(HIDDEN), len(sizes) - 2).tolist(), seed=index,
            output=str(rng.choice(sorted(ACTIVATIONS))), dtype=str(rng.choice(DTYPES))), 0.7)
    for name, run in compiled(tmp_path, networks).items():
        network = networks[name]
        inputs = rng.normal(size=(20, network.layer_sizes[0])).astype(network.dtype)
        assert error(run(inputs), network.predict(inputs)) < (1e-5 if network.dtype == "float32" else 1e-12), name


def self_test(folder, name, expect):
    define = f"-D{name.upper()}_SELF_TEST_MAIN"
    subprocess.run([CC, "-std=c99", *STRICT, define, "-x", "c", f"{name}.h", "-lm", "-o", "test"],
                   cwd=folder, check=True, capture_output=True, text=True)
    done = subprocess.run([folder / "test"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"{expect} of 8 recorded predictions failed\n", expect > 0)


@needs_cc
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_self_test_passes_and_notices_a_wrong_constant(dtype, tmp_path):
    to_c(network_of("leaky_relu", dtype), tmp_path / "policy.h")
    self_test(tmp_path, "policy", 0)
    text = (tmp_path / "policy.h").read_text(encoding="utf-8")
    assert text.count("z < 0 ? 0.01") == 1
    (tmp_path / "policy.h").write_text(text.replace("z < 0 ? 0.01", "z < 0 ? 0.02"), encoding="utf-8")
    self_test(tmp_path, "policy", 8)


@needs_cc
def test_a_program_can_call_the_self_test(tmp_path):
    to_c(network_of("relu", "float32"), tmp_path / "policy.h")
    (tmp_path / "own.c").write_text('#define POLICY_SELF_TEST\n#include "policy.h"\n'
                                    "int main(void) { return policy_self_test(); }\n", encoding="utf-8")
    subprocess.run([CC, "-std=c99", *STRICT, "own.c", "-lm", "-o", "own"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "own"]).returncode == 0


@needs_cc
@pytest.mark.skipif(CXX is None, reason="NOT TESTED: there is no C++ compiler")
def test_a_header_alone_compiles_as_c_and_as_cpp(tmp_path):
    """Twice included, nothing called; with and without hidden layers and activations."""
    for index, network in enumerate([network_of("softmax", "float32"), network_of("gelu", "float64"),
                                     fastnn.Network([2, 3])]):
        to_c(network, tmp_path / f"m{index}.h")
    source = "".join(f'#include "m{index}.h"\n#include "m{index}.h"\n' for index in range(3)) + "int unused;\n"
    (tmp_path / "a.c").write_text(source, encoding="utf-8")
    (tmp_path / "a.cpp").write_text(source, encoding="utf-8")
    for command in ([CC, "-std=c99", "a.c"], [CXX, "-std=c++11", "a.cpp"], [CXX, "-std=c++20", "a.cpp"]):
        done = subprocess.run([*command, *STRICT, "-c", "-o", "a.o"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_header_depends_on_the_network_and_the_name_alone(tmp_path):
    network = network_of("tanh", "float32")
    (tmp_path / "other").mkdir()
    network.to_c(tmp_path / "a.h")
    to_c(copy.deepcopy(network), str(tmp_path / "other" / "a.h"))
    assert (tmp_path / "a.h").read_bytes() == (tmp_path / "other" / "a.h").read_bytes()
    assert max(map(len, (tmp_path / "a.h").read_text(encoding="utf-8").splitlines())) <= 200


@pytest.mark.parametrize("file, name", [
    ("policy.h", "policy"), ("my-net 2.hpp", "my_net_2"), ("2024.h", "network_2024"), ("_x.h", "x"),
    ("é.h", "u00e9"), ("модель.h", "u043cu043eu0434u0435u043bu044c"), ("a.b.h", "a_b"), ("int.h", "int"),
    ("*?.h", "network"), ("exp.h", "exp"), ("-x.h", "x")])
def test_names_in_c_come_from_the_name_of_the_file(file, name, tmp_path):
    to_c(fastnn.Network([2, 1]), tmp_path / file)
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert f"void {name}_predict(" in text and f"#ifndef {name.upper()}_H" in text
    if CC:
        subprocess.run([CC, "-std=c99", *STRICT, "-x", "c", "-c", f"./{file}", "-o", "a.o"], cwd=tmp_path, check=True)


@needs_cc
@pytest.mark.parametrize("file", ["my model.h", "-x.h", "it's.h", "$HOME `a`.h", "модель.h", "*?.h", "no ending"])
def test_the_comment_names_the_file_and_its_command_works(file, tmp_path):
    to_c(fastnn.Network([2, 1]), tmp_path / file)
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert text.startswith(f"/* {file}: ") and f'#include "{file}"' in text
    command = re.search(r"^ \*     (cc -std=c99 .*)", text, re.MULTILINE)[1]
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("0 of 8 recorded predictions failed\n", 0), done.stderr
    (tmp_path / "a.c").write_text(f'#include "{file}"\nint unused;\n', encoding="utf-8")
    subprocess.run([CC, "-std=c99", *STRICT, "-c", "a.c"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("file, words", [
    ("math.h", "name of a header of the C library"), ("STDIO.H", "name of a header of the C library"),
    ("float.h", "name of a header"), ("unistd.h", "name of a header"), ('a"b.h', "which no #include can name"),
    ("a\nb.h", "which no #include can name"), ("a\\.h", "which no #include can name"),
    (os.fsdecode(b"a\xff.h"), "which no #include can name")])
def test_a_file_that_c_cannot_include_is_refused(file, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        to_c(fastnn.Network([2, 1]), tmp_path / file)
    assert not list(tmp_path.iterdir())


def compile_together(folder, *files):
    source = "".join(f'#include "{file}"\n' for file in files)
    (folder / "all.c").write_text(source + "int unused;\n", encoding="utf-8")
    return subprocess.run([CC, "-std=c99", *STRICT, "-c", "all.c"], cwd=folder, capture_output=True, text=True)


@needs_cc
@pytest.mark.parametrize("other", [
    fastnn.Network([2, 1], seed=1), fastnn.Network([2, 1], dtype="float64"), fastnn.Network([2, 1], output="tanh")],
    ids=["parameters", "dtype", "activation"])
def test_two_networks_of_one_name_stop_the_compiler(other, tmp_path):
    network = fastnn.Network([2, 1])
    for file, written in (("net-1.h", network), ("net_1.h", other), ("net 1.h", network), ("NET_1.h", network)):
        to_c(written, tmp_path / file)
    assert compile_together(tmp_path, "net-1.h", "net-1.h", "net 1.h").returncode == 0
    for second in ("net_1.h", "NET_1.h"):       # the macros of the latter are the same, its functions are not
        done = compile_together(tmp_path, "net-1.h", second)
        assert done.returncode != 0 and "names that begin with" in done.stderr and "rename one" in done.stderr


@needs_cc
def test_headers_in_other_scripts_have_names_of_their_own(tmp_path):
    for file in ("модель.h", "сеть.h", "e\u0301.h", "é.h", "🚀.h"):
        to_c(fastnn.Network([2, 1], seed=len(file)), tmp_path / file)
    done = compile_together(tmp_path, "модель.h", "сеть.h", "e\u0301.h", "é.h", "🚀.h")
    assert done.returncode == 0, done.stderr


def test_what_is_not_finite_is_not_written_in_c(tmp_path):
    network = fastnn.Network([2, 1], output="exp")
    for spoil, words in ((lambda: network.biases[0].fill(1000), "outputs for standard normal inputs and for smaller"),
                         (lambda: network.weights[0].fill(np.inf), "weights or biases hold NaN or infinity, but must")):
        spoil()
        with pytest.raises(ValueError, match=words):
            to_c(network, tmp_path / "a.h")
    assert not list(tmp_path.iterdir())


@needs_cc
@pytest.mark.parametrize("dtype, scale", [("float32", 1e3), ("float32", 1e20), ("float64", 1e12)])
def test_a_network_for_small_inputs_is_written(dtype, scale, tmp_path):
    """Standard normal inputs overflow in exp."""
    for seed in range(20):
        network = fastnn.Network([3, 4], output="exp", dtype=dtype, seed=seed)
        network.weights[0][...] *= scale
        to_c(network, tmp_path / "policy.h")
    self_test(tmp_path, "policy", 0)
    assert np.ptp(recorded(tmp_path, "outputs")) > 0.1      # not exp(0) alone


@needs_cc
@pytest.mark.parametrize("activation, scale, dtype", [
    *((name, 1.0, "float32") for name in ACTIVATIONS if name != "identity"),
    ("relu", 30.0, "float32"), ("sigmoid", 30.0, "float64"), ("softmax", 30.0, "float64"), ("exp", 3.0, "float64")])
def test_the_self_test_notices_that_an_activation_is_missing(activation, scale, dtype, tmp_path):
    """Each of three layers, also where most outputs are 0 or 1."""
    to_c(network_of(activation, dtype, scale=scale), tmp_path / "policy.h")
    text = (tmp_path / "policy.h").read_text(encoding="utf-8")
    calls = list(re.finditer(r"^    (?=policy_\w+\((even|odd|output), \d+\);)", text, re.MULTILINE))
    assert len(calls) == 3 and failures(tmp_path) == 0
    for call in calls:
        (tmp_path / "policy.h").write_text(f"{text[:call.end()]}if (0) {text[call.end():]}", encoding="utf-8")
        assert failures(tmp_path) > 0, text[call.end():].splitlines()[0]


@needs_cc
@pytest.mark.parametrize("size", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("activation", ["tanh", "elu", "silu", "sigmoid"])
def test_the_self_test_of_small_weights_has_large_inputs(activation, size, tmp_path):
    """Weights are small where a network takes columns as large as pascals: close to 0 an activation is a line."""
    network = network_of(activation, "float32")
    network.weights[0][...] /= size
    network.biases[0][...] /= size
    to_c(network, tmp_path / "policy.h")
    assert failures(tmp_path) == 0
    text = (tmp_path / "policy.h").read_text(encoding="utf-8")
    for call in re.finditer(r"^    (?=policy_\w+\((even|odd|output), \d+\);)", text, re.MULTILINE):
        (tmp_path / "policy.h").write_text(f"{text[:call.end()]}if (0) {text[call.end():]}", encoding="utf-8")
        assert failures(tmp_path) > 0, text[call.end():].splitlines()[0]


@needs_cc
def test_the_self_test_notices_errors_of_small_outputs(tmp_path):
    """Outputs of a millionth, such as a regression in SI units may have: tolerances are of their size."""
    network = network_of("relu", "float32", (5, 17, 9, 4))
    small = fastnn.Network([5, 17, 9, 4])
    small.set_parameters(network.get_parameters())
    small.weights[-1][...] *= 1e-6
    small.biases[-1][...] *= 1e-6
    to_c(small, tmp_path / "policy.h")
    assert failures(tmp_path) == 0
    text = (tmp_path / "policy.h").read_text(encoding="utf-8")
    (tmp_path / "policy.h").write_text(text.replace("policy_relu(odd", "if (0) policy_relu(odd"), encoding="utf-8")
    assert failures(tmp_path) == 8


@needs_cc
@pytest.mark.parametrize("weight, biases", [(3.4e38, 0.0), (1e-38, 3.4e38), (0.0, 0.0), (1e38, 1.0)])
def test_numbers_at_the_edge_of_overflow_are_written(weight, biases, tmp_path):
    network = fastnn.Network([2, 3, 1])
    network.weights[0][...], network.biases[0][...] = weight, biases
    network.weights[1][...] = 0.1
    to_c(network, tmp_path / "policy.h")
    assert failures(tmp_path) == 0


def recorded(folder, kind):
    """The numbers in policy.h for the self-test: "inputs" or "outputs"."""
    text = (folder / "policy.h").read_text(encoding="utf-8")
    numbers = re.search(rf"policy_test_{kind}\[\d+\] = {{(.*?)}}", text, re.DOTALL)[1].replace("f", "")
    return np.array([float(number) for number in numbers.split(",")], "f" if " float " in text else "d")


def failures(folder):
    """How many recorded predictions of policy.h fail."""
    subprocess.run([CC, "-std=c99", "-DPOLICY_SELF_TEST_MAIN", "-x", "c", "policy.h", "-lm", "-o", "test"],
                   cwd=folder, check=True)
    return int(subprocess.run([folder / "test"], capture_output=True, text=True).stdout.split()[0])


@needs_cc
@pytest.mark.parametrize("rows", [1, 12])
def test_the_self_test_records_the_inputs_that_are_given(rows, tmp_path):
    network, inputs = network_of("relu", "float32"), 1000 + X[:rows].astype("f")
    network.to_c(tmp_path / "policy.h", inputs=inputs)
    np.testing.assert_array_equal(recorded(tmp_path, "inputs"), inputs.ravel())
    assert failures(tmp_path) == 0


@pytest.mark.parametrize("inputs, error, words", [
    (np.ones(5), ValueError, r"inputs has shape \(5,\), but rows of 5 numbers"),
    (np.ones((0, 5)), ValueError, "and one at least were expected"),
    (np.ones((3, 4)), ValueError, r"inputs has shape \(3, 4\)"), ("abc", TypeError, "inputs has dtype"),
    ([[0] * 5, [np.nan] * 5], ValueError, "inputs: row 1 holds NaN or infinity"),
    ([[0] * 5, [1e39] * 5], ValueError, "inputs: row 1 holds NaN or infinity"),
    ([[0] * 5, [0] * 5, [3e38] * 5], ValueError, "inputs: row 2 leads to outputs of NaN or infinity")])
def test_inputs_that_cannot_be_recorded_are_refused(inputs, error, words, tmp_path):
    with pytest.raises(error, match=words):
        to_c(network_of("relu", "float32"), tmp_path / "a.h", inputs=inputs)
    assert not list(tmp_path.iterdir())


OTHER_TARGET = [*STRICT, "-Wconversion", "-Wdouble-promotion"]


@needs_cc
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["elu", "selu", "softplus", "gelu"])
def test_functions_that_a_library_lacks_are_written_out(activation, dtype, tmp_path):
    """One layer that hands on what comes, from tail to tail; the constants in a memory of another kind."""
    network = fastnn.Network([1, 1], output=activation, dtype=dtype)
    network.weights[0][...] = 1
    flags = [*OTHER_TARGET, "-DPOLICY_OWN_MATH", "-DPOLICY_MEMORY=volatile"]
    run = compiled(tmp_path, {"policy": network}, flags)["policy"]
    steps = np.geomspace(1e-9, 100, 500)
    z = np.concatenate([-steps, [0], steps, np.linspace(-4, 4, 801), [-746, 709, 1e4, -1e4]])[:, None]
    assert error(run(z), network.predict(z)) < (1e-6 if dtype == "float32" else 1e-14)
    near = -steps[steps < 1e-3][:, None]        # the relative error, where numbers are small
    assert np.abs(run(near) / network.predict(near) - 1).max() < (1e-6 if dtype == "float32" else 1e-14)
    assert np.isnan(run(np.full((1, 1), np.nan))).all()


@needs_cc
@pytest.mark.skipif(CXX is None, reason="NOT TESTED: there is no C++ compiler")
def test_constants_may_be_in_a_memory_of_another_kind(tmp_path):
    """Every pointer to them says so: the compiler refuses to drop a qualifier."""
    for index, (activation, dtype) in enumerate([("gelu", "float32"), ("selu", "float64"), ("softmax", "float32")]):
        to_c(network_of(activation, dtype), tmp_path / f"m{index}.h", columns=list("abcde"), classes=list("wxyz"))
        for command in ([CC, "-std=c99", "-x", "c"], [CXX, "-std=c++11", "-x", "c++"]):
            for more in ([], [f"-DM{index}_MEMORY=volatile", f"-DM{index}_OWN_MATH"]):
                options = [*OTHER_TARGET, *more, f"-DM{index}_SELF_TEST_MAIN"]
                subprocess.run([*command, *options, f"m{index}.h", "-lm", "-o", "test"], cwd=tmp_path, check=True)
                subprocess.run([tmp_path / "test"], check=True)


AVR = shutil.which("avr-gcc")


@pytest.mark.skipif(AVR is None, reason="NOT TESTED: there is no avr-gcc")
@pytest.mark.parametrize("activation", HIDDEN)
def test_a_network_fits_a_small_microcontroller(activation, tmp_path):
    """2 kB of memory, 32 kB of flash, and a library without erfc, expm1 and log1p."""
    to_c(network_of(activation, "float32", (8, 32, 16, 4)), tmp_path / "policy.h", columns=list("abcdefgh"))
    (tmp_path / "main.c").write_text(
        '#define POLICY_SELF_TEST\n#include "policy.h"\nint main(void) { return policy_self_test(); }\n',
        encoding="utf-8")
    subprocess.run([AVR, "-mmcu=atmega328p", "-std=gnu99", "-Os", "-Wall", "-Wextra", "-Werror",
                    "-DPOLICY_MEMORY=__flash", "main.c", "-lm", "-o", "main"], cwd=tmp_path, check=True)


HOSTILE = ["plain", "*/ int x; /*", 'a"b', "a\\", "??/", "two\nlines", "naïve", "", "%s%n", "\ud800", "модель" * 40,
           "\x01" + "1", "/*"]


@needs_cc
@pytest.mark.skipif(CXX is None, reason="NOT TESTED: there is no C++ compiler")
def test_names_of_columns_and_classes_are_in_the_header(tmp_path):
    n = len(HOSTILE)
    to_c(fastnn.Network([n, 2]), tmp_path / "policy.h", columns=HOSTILE, classes=np.array([0, 17]))
    text = (tmp_path / "policy.h").read_text(encoding="utf-8")
    assert " *     column 0: plain\n" in text and " *     class 1: 17\n" in text
    (tmp_path / "a.c").write_text(
        '#include <stdio.h>\n#include "policy.h"\nint main(void) { int i; for (i = 0; i < POLICY_INPUTS; i++) '
        'printf("%s%c", policy_column(i), 0); puts(policy_class(1)); return 0; }\n', encoding="utf-8")
    for command in ([CC, "-std=c99", "-x", "c"], [CXX, "-std=c++11", "-x", "c++"]):
        subprocess.run([*command, *STRICT, "a.c", "-lm", "-o", "a"], cwd=tmp_path, check=True)
        printed = subprocess.run([tmp_path / "a"], capture_output=True, check=True).stdout
        assert printed == "\0".join([*HOSTILE, "17\n"]).encode("utf-8", "surrogatepass")
    to_c(fastnn.Network([n, 1], output="sigmoid"), tmp_path / "policy.h", classes=["no", "yes"])
    assert "class 1: yes" in (tmp_path / "policy.h").read_text(encoding="utf-8")


@pytest.mark.parametrize("names, error, words", [
    ({"columns": ["a"]}, ValueError, "columns has 1 names, but 2 were expected for the network's inputs"),
    ({"classes": ["a", "b"]}, ValueError, "classes has 2 names, but 3 were expected for the network's outputs"),
    ({"columns": "ab"}, TypeError, "columns is 'ab', but must be a sequence of names"),
    ({"columns": 2}, TypeError, "columns is 2, but must be a sequence of names"),
    ({"columns": {"a", "b"}}, TypeError, r"columns is \{'.', '.'\}, but must be a sequence of names")])
def test_names_of_another_number_are_refused(names, error, words, tmp_path):
    with pytest.raises(error, match=words):
        to_c(fastnn.Network([2, 3]), tmp_path / "a.h", **names)
    assert not list(tmp_path.iterdir())
