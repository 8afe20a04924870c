"""`dp figures`: the figures, each beside the table that it is drawn from, and a page that shows them.

The figure NAME is the module NAME (with _ for -) of a room of `experiments/paper`. It has `compute(quick)`, which
returns a tidy table, `draw(table)`, which returns a matplotlib figure, and `caption(table)`.
"""

import difflib
import hashlib
import html
import importlib
import json
import pkgutil
import time
from pathlib import Path
from typing import Annotated

import typer

import experiments.paper
from dp_base.errors import InputError
from experiments.cli.terminal import say

_RECORD = "figures.json"  # what is in the folder: name -> caption, command, quick, seconds, source


def names() -> list[str]:
    """Every figure there is, found by file name; nothing is imported."""
    return sorted(_modules())


def _modules() -> dict[str, str]:
    """The module of each figure, by the figure's name."""
    names = (module.name for module in pkgutil.walk_packages(experiments.paper.__path__, "experiments.paper."))
    return {name.split(".")[-1].replace("_", "-"): name for name in names if name.count(".") == 3}  # within a room


def command(
    wanted: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; all by default.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for PNG, PDF, CSV and index.html.")] = Path("out/figures"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer trials and seeds: larger error bars.")] = False,
) -> None:
    """Draw the paper's figures from theory, simulations and runs; what is up to date is not drawn again."""
    chosen = _checked(wanted or names())
    record = _open(out)
    source = _source()
    for index, name in enumerate(chosen, start=1):
        done = record.get(name, {})
        if (done.get("source"), done.get("quick")) == (source, quick) and _complete(out, name):
            say(f"[{index}/{len(chosen)}] {name}: up to date")
            continue
        say(f"[{index}/{len(chosen)}] {name} ...")
        record[name] = {**make(name, out, quick), "source": source}
        _write(out, record)
        say(f"[{index}/{len(chosen)}] {name}: {record[name]['seconds']:.1f} s")
    print(out / "index.html")


def make(name: str, out: Path, quick: bool) -> dict:
    """Write the table and the pictures of one figure to `out`; return what the page says of it."""
    from dp_base.files import whole_file
    from figures.curves import save

    module = importlib.import_module(_modules()[name])
    start = time.perf_counter()
    table = module.compute(quick)
    with whole_file(out / f"{name}.csv") as partial:
        table.to_csv(partial, index=False)
    save(module.draw(table), out / name)
    return {
        "caption": module.caption(table),
        "command": f"dp figures {name}" + (" --quick" if quick else ""),
        "quick": quick,
        "seconds": round(time.perf_counter() - start, 1),
    }


def _checked(wanted: list[str]) -> list[str]:
    known = names()
    for name in wanted:
        if name not in known:
            alike = [other for other in known if other.startswith(name)]
            nearest = (alike or difflib.get_close_matches(name, known, 1, cutoff=0))[0]
            raise InputError(f"there is no figure {name!r}; did you mean {nearest!r}? All: {', '.join(known)}")
    return list(dict.fromkeys(wanted))


def _open(out: Path) -> dict:
    """The record in `out`, made if need be. Raises InputError unless `out` is ours and can be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / _RECORD).exists():
            return json.loads((out / _RECORD).read_text(encoding="utf-8"))
        if any(out.iterdir()):
            raise InputError(f"--out {out} holds something else; give a new or empty folder, or one with figures")
        _write(out, {})
    except OSError as error:
        raise InputError(f"--out {out} is not a folder that can be written to: {error.strerror}") from None
    except json.JSONDecodeError:
        raise InputError(f"{out / _RECORD} is not a record of figures; give --out another folder") from None
    return {}


def _complete(out: Path, name: str) -> bool:
    return all((out / f"{name}.{extension}").exists() for extension in ("csv", "png", "pdf"))


def _source() -> str:
    """A hash of all that a figure depends on: the code, the presets and the reported tables."""
    root = Path(experiments.paper.__file__).parents[2]
    folders = [root / package for package in ("dp_base", "dp_theory", "dp_real", "figures", "experiments")]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".toml", ".csv"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def _write(out: Path, record: dict) -> None:
    from dp_base.files import whole_file

    record = dict(sorted(record.items()))
    with whole_file(out / _RECORD) as partial:
        partial.write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")
    with whole_file(out / "index.html") as partial:
        partial.write_text(_page(record), encoding="utf-8")


def _page(record: dict) -> str:
    figures = "".join(
        f"""
<figure id="{name}">
  <a href="{name}.pdf"><img src="{name}.png" alt="{name}"></a>
  <figcaption><strong>{name}.</strong> {html.escape(entry["caption"])}</figcaption>
  <p><code>{html.escape(entry["command"])}</code> ({entry["seconds"]} s) ·
     <a href="{name}.csv">table</a> · <a href="{name}.pdf">PDF</a></p>
</figure>"""
        for name, entry in record.items()
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Deliberate Practice: figures</title>
<style>
  body {{ max-width: 52rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 sans-serif; color: #222 }}
  figure {{ margin: 3rem 0 }}
  img {{ width: 100% }}
  p {{ color: #555; font-size: .9rem }}
</style>
<h1>Figures</h1>
<p>Each is drawn from the table beside it. Their numbers follow the paper, arXiv 2502.15588.</p>{figures}
</html>
"""
