"""The command line: `python -m fastnn bench`. Parses and prints; the work is done elsewhere."""

import argparse
import json
import sys
from pathlib import Path


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m fastnn", description="fastnn's command line.")
    commands = parser.add_subparsers(dest="command", required=True)
    add_bench(commands)
    options = parser.parse_args(arguments)
    return options.run(options)


def add_bench(commands):
    parser = commands.add_parser(
        "bench", help="time fastnn beside its peers",
        description="Times fastnn beside whichever of its peers are installed: proves first that all compute the same, "
                    "then lets them take turns. Prints the best time of each and the median ratio.")
    parser.add_argument("--cells", nargs="+", default=["*"], metavar="NAME",
                        help="which pieces of work: names or patterns such as '784*' (all)")
    parser.add_argument("--peers", nargs="*", metavar="NAME", help="which peers (all that are installed)")
    parser.add_argument("--threads", type=int, default=1, metavar="N",
                        help="threads, and processors, for everybody (1)")
    parser.add_argument("--isa", metavar="NAME", help="the instruction set that everybody is held to (the best)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each contender (5)")
    parser.add_argument("--json", metavar="FILE", help="write all turns there, too")
    parser.set_defaults(run=lambda options: bench(parser, options))


def bench(parser, options):
    from . import _dispatch
    from .bench import race, report
    from .bench.cells import select
    from .bench.contenders import CONTENDERS, FastNN
    peers = [name for name in CONTENDERS if name != FastNN.name]
    for name, value in (("--threads", options.threads), ("--rounds", options.rounds)):
        if value < 1:
            parser.error(f"argument {name}: is {value}, but must be 1 or more")
    sets = [name for name in race.HELD_TO if name in _dispatch.FOUND]
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
    print(report.caption(where), *report.header(chosen), sep="\n", flush=True)
    records = []
    for result in race.race(cells, chosen, processors, isa=options.isa, dtype=options.dtype, rounds=options.rounds):
        records.append(report.as_record(result))
        print(report.row(records[-1], chosen, options.threads), flush=True)
    for record in records:
        for name, reason in record["left_out"].items():
            print(f"{record['cell']}: {name} is left out: {reason}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({**where, "cells": records}, file, indent=1, ensure_ascii=False)
            file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
