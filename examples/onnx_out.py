"""Learn a surface, sin(x) cos(y), and hand the network on: as an ONNX file to ONNX Runtime, as a header to
a C compiler.

Prints how far the outputs of the two are from those here, for 1,000 points. The ONNX file runs wherever
there is a runtime for it, the header wherever there is a compiler.

Run it: python examples/onnx_out.py [--folder .]        (needs onnx and onnxruntime; cc, for the header)
"""

import argparse
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime

import fastnn
from fastnn import interchange


def learn():
    """A network that knows the surface; it ends at a mean squared error of less than 1e-4."""
    points = np.random.default_rng(0).uniform(-3, 3, size=(2000, 2)).astype("float32")
    heights = np.sin(points[:, 0]) * np.cos(points[:, 1])
    network = fastnn.Network([2, 32, 32, 1], activation="tanh", seed=0)
    rates = fastnn.schedules.CosineDecay(1e-2, length=200)
    history = network.fit(points, heights, epochs=200, optimizer=fastnn.Adam(rates))
    print(f"learned sin(x) cos(y) with a mean squared error of {history.loss[-1]:.1e}")
    return network


def run_onnx(network, path):
    """Write the ONNX file, run it, and return the largest difference."""
    interchange.to_onnx(network, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    points = np.random.default_rng(1).uniform(-3, 3, size=(1000, 2)).astype("float32")
    outputs = session.run(["output"], {"input": points})[0]
    difference = float(np.abs(outputs - network.predict(points)).max())
    print(f"{path.name}: {path.stat().st_size} bytes, ONNX Runtime differs by {difference:.1e} at most")
    return difference


def run_c(network, path):
    """Write the C header, and let it test itself where there is a compiler."""
    network.to_c(path)
    compiler = shutil.which("cc")
    if compiler is None:
        print(f"{path.name}: {path.stat().st_size} bytes; there is no cc to compile it")
        return
    program = path.with_name("surface_test")
    options = ["-std=c99", "-DSURFACE_SELF_TEST_MAIN", "-x", "c"]
    subprocess.run([compiler, *options, path, "-lm", "-o", program], check=True)
    done = subprocess.run([program.resolve()], check=True, capture_output=True, text=True)
    print(f"{path.name}: {path.stat().st_size} bytes, in C {done.stdout.strip()}")


def main(arguments=None):
    """Learn, write, run, and return ONNX Runtime's largest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("."), help="where the files go (default here)")
    options = parser.parse_args(arguments)
    network = learn()
    difference = run_onnx(network, options.folder / "surface.onnx")
    run_c(network, options.folder / "surface.h")
    return difference


if __name__ == "__main__":
    main()
