"""The commands: each parses its arguments and prints its results; tables/, interchange/ and bench/ do the work.

Results go to standard output, everything else to standard error. The exit status is 0; 1 after an error, which is one
line; 2 for wrong arguments; 130 after Ctrl-C. Text from a file is escaped where it is printed, so that no name in it
can control a terminal.
"""

import argparse
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._checks import library
from .._version import __version__
from ..core.config import show_config
from ..network import Network
from ..storage.model_file import check_target, printable, replace_file
from ..tables.kinds import KINDS
from ..tables.model import TableClassifier, TableRegressor, opened
from ..tables.reading import listed, read_table
from ..tables.recipe import Label
from ..tables.task import MOST_CLASSES, task_of
from ..training.progress import say
from . import tables

MOST_LINES = 40             # about columns
MOST_NAMES = 10             # of classes, in a line
EXPORTS = {"onnx": ".onnx", "c": ".h", "torch": ".pt"}


def main(arguments: Sequence[str] | None = None) -> int | None:
    parser = argparse.ArgumentParser(prog="fastnn", description="Trains and runs dense neural networks.")
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (add_train, add_predict, add_info, add_export, add_bench, add_config):
        add(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except BrokenPipeError:         # the program that reads our output has ended, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, TypeError, ValueError, ImportError, MemoryError) as error:
        say(f"fastnn: error: {printable(' '.join(str(error).split()))}")
        return 1
    except KeyboardInterrupt:
        say("fastnn: interrupted")
        return 130


def add_train(commands: Any) -> None:
    parser = commands.add_parser(
        "train", help="learn a column of a table from its others",
        usage="fastnn train data.csv --target COLUMN [options]",
        description="Learns one column of a table from the others: classes, if it holds text or at most "
                    f"{MOST_CLASSES} different whole numbers, else a number. Several networks learn, each from all "
                    "rows but its own part; what they make of these parts is reported.")
    add_reading(parser)
    parser.add_argument("--target", required=True, metavar="COLUMN", help="what to learn")
    parser.add_argument("--out", default="model.safetensors", metavar="FILE", help="the model (model.safetensors)")
    parser.add_argument("--report", metavar="FILE.html", help="write the report as a page with pictures, too")
    parser.add_argument("--drop", nargs="+", default=[], metavar="COLUMN", help="columns to leave out")
    parser.add_argument("--as", nargs="+", type=kind_of_column, default=[], metavar="COLUMN=KIND", dest="kinds",
                        help=f"what a column is: {', '.join(KINDS)} or drop (found out)")
    parser.add_argument("--missing", nargs="+", default=[], metavar="TEXT",
                        help="cells that are gaps, such as -200 (empty ones are; NA, ? and their kin among numbers)")
    parser.add_argument("--task", choices=("classification", "regression"), help="what the target is (found out)")
    parser.add_argument("--members", type=int, default=8, metavar="N",
                        help="networks, whose mean is the answer; 1 for a quick look (8)")
    parser.add_argument("--hidden", nargs="+", type=int, metavar="N", help="hidden layers (128 128)")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the rows (by the size of the table)")
    parser.add_argument("--time-budget", type=float, metavar="SECONDS", help="train for so long at most")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, order and parts of the rows (0)")
    parser.set_defaults(run=train)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """What to read, and how."""
    parser.add_argument("data", help="a table: CSV and its kin, also compressed; Excel or Parquet")
    parser.add_argument("--separator", type=separator, metavar="TEXT",
                        help="between cells: a character, or tab or space (found out)")
    parser.add_argument("--no-header", action="store_true",
                        help="the first row is data: columns are called 0, 1, … (found out)")


def separator(text: str) -> str:
    """A separator as it is typed."""
    meant = {"tab": "\t", "\\t": "\t", "space": " ", "spaces": " "}.get(text, text)
    if len(meant) != 1 or meant in '"\r\n':
        raise argparse.ArgumentTypeError(f"is {text!r}, but must be one character, such as ';', or tab or space")
    return meant


def kind_of_column(text: str) -> tuple[str, str]:
    """COLUMN=KIND as it is typed."""
    name, _, kind = text.rpartition("=")
    if not name or kind not in (*KINDS, "drop"):
        raise argparse.ArgumentTypeError(
            f"is {text!r}, but must be a column, = and one of {', '.join(KINDS)}, drop: such as zip=category")
    return name, kind


def check_out(path: str, *sources: str, option: str = "--out") -> None:
    """Refuses, before any work, a file that cannot be written, or that is one of the sources."""
    no_file = Path(path).exists() and not Path(path).is_file()     # a folder, a pipe, a device
    if not path or no_file or not Path(path).absolute().parent.is_dir():
        raise ValueError(f"{option} is {path!r}, which is no file in a folder that exists")
    for source in sources:
        if Path(path).exists() and Path(source).exists() and Path(path).samefile(source):
            raise ValueError(f"{option} is {path!r}, which is what is read; give another name")
    check_target(path)


def first_names(classes: Sequence[Label]) -> str:
    """The first ten names of classes."""
    return listed(list(map(str, classes)), MOST_NAMES)


def print_result(line: str) -> None:
    """Prints a line of the results."""
    print(printable(line))


def train(options: argparse.Namespace) -> None:
    check_out(options.out, options.data)
    if options.report is not None:
        library("matplotlib", "Matplotlib", "plot", "--report")
        check_out(options.report, options.data, option="--report")
        if os.path.realpath(options.report) == os.path.realpath(options.out):
            raise ValueError(f"--report is {options.report!r}, which is --out, too; give another name")
    table = read_table(options.data, options.separator, False if options.no_header else None)
    kinds = dict(options.kinds)
    drop = [*options.drop, *(name for name, kind in kinds.items() if kind == "drop")]
    task = task_of(table, options.target, options.task, drop=drop, missing=options.missing,
                   kinds={name: kind for name, kind in kinds.items() if kind != "drop"})
    kind = TableRegressor if task.recipe.classes is None else TableClassifier
    model = kind(options.members, hidden=options.hidden, epochs=options.epochs, time_budget=options.time_budget,
                 seed=options.seed, progress=True)
    model.settings(task)        # which checks all that was said, before the first line
    classes = task.recipe.classes
    what = "a number" if classes is None else f"one of {len(classes)} classes ({first_names(classes)})"
    print_result(f"{table.path}: {len(table)} rows, {len(table.cells)} columns; {table.said}")
    for line in task.said[:MOST_LINES]:
        print_result(f"  {line}")
    if len(task.said) > MOST_LINES:
        print_result(f"  … and {len(task.said) - MOST_LINES} more")
    print_result(f"{options.target}: {what}, from {len(task.columns)} columns")
    sys.stdout.flush()
    model.fit_task(task, len(table.cells) - 1)
    save(model, options.out)
    report = model.report_
    for line in [] if report is None else report.text().splitlines():
        print_result(line)
    print_result(f"saved {options.out}")
    if options.report is not None and report is not None:
        from ..tables.page import page
        replace_file(options.report, page(report).encode())
        print_result(f"saved {options.report}")


def save(model: TableClassifier | TableRegressor, path: str) -> None:
    """Saves what was trained; elsewhere, where the disk has become full or the folder is gone meanwhile."""
    try:
        model.save(path)
    except OSError as error:
        other = Path(tempfile.mkdtemp(prefix="fastnn-")) / Path(path).name
        model.save(other)
        raise OSError(f"{error}; the model was saved as {other}") from None


def add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict", help="what a model makes of the rows of a table",
        description="Writes a CSV file with one row for each row of the data: the number, or the class and the "
                    "probability of every class. Columns are found by their names; further ones do not matter.")
    parser.add_argument("model", help="a file that `fastnn train` wrote")
    add_reading(parser)
    parser.add_argument("--out", metavar="FILE", help="write there (standard output)")
    parser.set_defaults(run=predict)


def predict(options: argparse.Namespace) -> None:
    if options.out is not None:
        check_out(options.out, options.data, options.model)
    model = opened(options.model)
    if isinstance(model, Network):
        raise ValueError(f"{options.model} learned from arrays, and does not know which columns it needs; load it with "
                         "fastnn.load and call predict")
    table = read_table(options.data, options.separator, False if options.no_header else None,
                       list(model.recipe_.readings))
    rows = tables.predictions(model, table)
    if options.out is None:
        if sys.stdout.isatty():
            rows = ([printable(cell) for cell in row] for row in rows)
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
        sys.stdout.flush()          # here: if the reader of a pipe has ended, `main` handles the error
    else:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        replace_file(options.out, text.getvalue().encode())


def add_info(commands: Any) -> None:
    parser = commands.add_parser("info", help="what a model file holds")
    parser.add_argument("model", help="a file that fastnn wrote")
    parser.set_defaults(run=info)


def info(options: argparse.Namespace) -> None:
    model = opened(options.model)
    networks = [model] if isinstance(model, Network) else model.networks_
    first = networks[0]
    facts: dict[str, object] = {
        "layers": " -> ".join(map(str, first.layer_sizes)), "activations": ", ".join(first.activations),
        "loss": first.loss, "dtype": first.dtype, "parameters": f"{sum(each.n_parameters for each in networks):,}"}
    if isinstance(model, Network):
        facts |= {"epochs trained": model.epochs_trained, "optimizer": model.optimizer, "seed": model.seed}
    else:
        recipe = model.recipe_
        facts |= {"networks": len(networks), "target": recipe.target, "columns": ", ".join(recipe.readings),
                  "classes": None if recipe.classes is None else first_names(recipe.classes)}
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            print_result(f"{name:{width}}  {value}")
    if not isinstance(model, Network) and model.report_ is not None:
        for line in model.report_.text().splitlines():
            print_result(line)


def add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export", help="write a model for ONNX, C or PyTorch",
        description="Writes the model for another tool. That of a table goes to ONNX or C as a whole: it takes the "
                    "columns' cells, also text and gaps.")
    parser.add_argument("model", help="a file that fastnn wrote")
    parser.add_argument("--to", required=True, choices=EXPORTS,
                        help="onnx; c: a C99 header; torch: a state_dict, and the module is printed")
    parser.add_argument("--out", metavar="FILE", help="the file (the model's name, with .onnx, .h or .pt)")
    parser.set_defaults(run=export)


def export(options: argparse.Namespace) -> None:
    model = opened(options.model)
    path = str(Path(options.model).with_suffix(EXPORTS[options.to])) if options.out is None else options.out
    check_out(path, options.model)
    if isinstance(model, Network):
        export_network(model, options.to, path)
    elif options.to == "torch":
        raise ValueError(f"{options.model} is a table's model, which goes to ONNX or C as a whole: pass --to onnx or "
                         "--to c")
    else:
        (model.to_onnx if options.to == "onnx" else model.to_c)(path)
        print_result(f"inputs: {', '.join(model.recipe_.readings)}")
        print_result(f"outputs: {', '.join(tables.outputs(model.recipe_))}")
    print_result(f"saved {path}")


def export_network(network: Network, to: str, path: str) -> None:
    """Writes a network that learned from arrays."""
    from .. import interchange
    if to == "onnx":
        interchange.to_onnx(network, path)
    elif to == "c":
        interchange.to_c(network, path)
    else:
        module = interchange.to_torch(network)
        import torch
        data = io.BytesIO()
        torch.save(module.state_dict(), data)
        replace_file(path, data.getvalue())
        print(module)


def add_config(commands: Any) -> None:
    parser = commands.add_parser("config", help="version, compiler, instruction sets, threads")
    parser.set_defaults(run=lambda options: show_config())


def add_bench(commands: Any) -> None:
    parser = commands.add_parser(
        "bench", help="time fastnn beside its peers",
        description="Times fastnn beside whichever of its peers are installed: proves first that all compute the same, "
                    "then lets them take turns. Prints the best time of each and the median ratio.")
    parser.add_argument("--cells", nargs="+", metavar="NAME",
                        help="which pieces of work: names or patterns such as '784*' or 'many-*'; '*' is all of them "
                             "(all but populations of 8 and of 512 networks)")
    parser.add_argument("--peers", nargs="*", metavar="NAME", help="which peers (all that are installed)")
    parser.add_argument("--threads", type=int, default=1, metavar="N",
                        help="threads, and processors, for everybody (1)")
    parser.add_argument("--isa", metavar="NAME", help="the instruction set that everybody is held to (the best)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each contender (5)")
    parser.add_argument("--json", metavar="FILE", help="write all turns there, too")
    parser.set_defaults(run=lambda options: bench(parser, options))


def bench(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    from ..bench import race, report
    from ..bench.cells import select
    from ..bench.contenders import CONTENDERS, FastNN
    from ..core import dispatch
    peers = [name for name in CONTENDERS if name != FastNN.name]
    for name, value in (("--threads", options.threads), ("--rounds", options.rounds)):
        if value < 1:
            parser.error(f"argument {name}: is {value}, but must be 1 or more")
    sets = [name for name in race.HELD_TO if name in dispatch.FOUND]
    if options.isa not in (None, *sets):
        parser.error(f"argument --isa: is {options.isa!r}, but peers can be held here to {', '.join(sets) or 'none'}")
    for name in options.peers or ():
        if name not in peers:
            parser.error(f"argument --peers: {name!r} is no peer; known are {', '.join(peers)}")
        if report.version(name) is None:
            parser.error(f"argument --peers: {name} is not installed; install it or leave it out")
    if options.json and not Path(options.json).absolute().parent.is_dir():
        parser.error(f"argument --json: {options.json} is in no folder that exists")
    chosen = [name for name in (peers if options.peers is None else options.peers) if report.version(name)]
    try:
        cells, processors = select(options.cells), race.processors_for(options.threads)
    except ValueError as error:
        parser.error(str(error))
    where = report.machine(options.threads, options.isa, options.dtype, chosen)
    print(report.caption(where), flush=True)
    records, columns = [], None
    for result in race.race(cells, chosen, processors, isa=options.isa, dtype=options.dtype, rounds=options.rounds):
        records.append(report.as_record(result))
        racers = race.racers([result.cell], chosen)
        if racers != columns:
            print("", *report.header(racers), sep="\n")
            columns = racers
        print(report.row(records[-1], racers, options.threads), flush=True)
    for line in report.left_out(records):
        print(line)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({**where, "cells": records}, file, indent=1, ensure_ascii=False)
            file.write("\n")
