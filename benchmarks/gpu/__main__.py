"""`python -m benchmarks.gpu`: what a GPU does with this project, in one table, within minutes.

Rows are run in the order of their importance. Each is written to the CSV file as soon as it is known.
"""

import argparse
import faulthandler
import os
import sys
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "pydantic", "jaxtyping", "psutil", "PIL")
HANGS = 60.0  # seconds after the last minute when a GPU that no longer answers ends the process


def main() -> None:
    """Run the rows that are asked for. The exit status is 1 if any fails."""
    arguments = parsed()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(
            f"missing: {' '.join(missing)}. Without a network: `pip download --no-deps -d wheels {' '.join(missing)}` "
            "elsewhere, for this Python and processor, and `pip install --no-index --no-deps wheels/*` here"
        )
    if arguments.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    import torch
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    from benchmarks.gpu.device import Bench
    from benchmarks.gpu.machine import describe
    from benchmarks.gpu.plan import rows
    from benchmarks.gpu.rows import Table

    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no GPU that torch can use; --device cpu --tiny checks this benchmark itself")
    faulthandler.dump_traceback_later(60 * arguments.minutes + HANGS, exit=True)
    torch.set_float32_matmul_precision("high")  # as a run in bfloat16 has it
    of_diffusers.set_verbosity_error()
    of_transformers.set_verbosity_error()
    bench = Bench(torch.device("cuda", 0) if arguments.device == "cuda" else torch.device("cpu"), arguments.tiny)
    every = rows(bench)
    if arguments.only:
        chosen = [row for row in every if any(part in row.name for part in arguments.only)]
    else:  # compiling takes minutes on a CPU
        chosen = [row for row in every if bench.gpu or not row.name.endswith("compiled")]
    if not chosen:
        names = "\n".join(row.name for row in every)
        sys.exit(f"no row has {' or '.join(arguments.only)} in its name; they are:\n{names}")
    print(describe(bench), flush=True)
    out = arguments.out or Path("docs/results/gpu.csv" if bench.gpu else "out/gpu.csv")
    table = Table(out, arguments.minutes)
    table.run(chosen)
    faulthandler.cancel_dump_traceback_later()
    left_out = f"; left out: {', '.join(table.left_out())}" if table.left_out() else ""
    print(f"{len(chosen)} rows, in {out}{left_out}")
    sys.exit(f"failed: {', '.join(table.failed())}" if table.failed() else 0)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to check the benchmark itself")
    parser.add_argument("--minutes", type=float, default=8.0, help="of the whole run")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows with one of these in their names")
    parser.add_argument("--out", type=Path, help="a CSV file; by default docs/results/gpu.csv, of a CPU out/gpu.csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
