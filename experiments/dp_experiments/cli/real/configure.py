"""`dp real init | keys`: configurations, and what can be set."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from dp_base.errors import InputError
from dp_experiments.cli.options import Json
from dp_experiments.cli.real.options import PRESET, Set
from dp_experiments.presets.presets import load_preset, preset_names, sources
from dp_experiments.presets.variants import variants
from dp_experiments.terminal.lines import answer, say

if TYPE_CHECKING:
    from dp_real.runtime.section import Section

BOUNDS = {"minimum": "≥ {:g}", "exclusiveMinimum": "> {:g}", "maximum": "≤ {:g}", "exclusiveMaximum": "< {:g}"}
HUGE = 10**5  # larger bounds are not shown, since nobody comes near them
KINDS = {"null": "none", "array": "list", "object": "table"}  # types of a JSON schema, as TOML calls them


def _preset(name: str) -> dict[str, Any]:
    config = load_preset(name)
    variant = variants().get(name)
    plan = config.practice
    return {
        "preset": name,
        "initial": plan.initial,
        "increment": plan.increment if plan.additions else None,
        "additions": plan.additions,
        "samples": config.samples,
        "omega": config.guidance.omega if plan.additions else None,
        "patience": plan.patience if plan.additions else None,
        "steps": config.training.steps,
        "reported": variant.reported if variant else None,
        "note": variant.note if variant else "",
    }


def init_command(
    name: Annotated[str, Argument(metavar="NAME", help="The file will be NAME.toml.")],
    kind: Annotated[
        Literal["images", "latent", "denoiser", "function", "text"] | None,
        Option(
            help="What is to be classified and drawn: images by a pipeline of diffusers, small ones by a model that is "
            "trained here (latent), tiny ones (denoiser), images by a function of yours; texts.",
            show_default="images, or with --from what this machine can draw",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        Option(
            "--from",
            metavar="PLACE",
            help="Your examples: class folders of images or texts, or a CSV or JSONL file of texts. They are divided "
            "into sets for training, validation and test in the folder NAME-data, as links.",
        ),
    ] = None,
) -> None:
    """The file is NAME.toml. Its comments say what to change."""
    from dp_base.files import as_input_error
    from dp_real.config.config import check_name

    path = Path(f"{name.removesuffix('.toml')}.toml")
    task = path.name.removesuffix(".toml")  # the stem of a path would take ".toml" for a name
    try:
        check_name(task)
    except ValueError as error:
        raise InputError(f"NAME {task[:100]!r}: {error}") from None
    if path.exists():
        raise InputError(f"{path} exists and stays as it is; name another")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    text = fill(template_of(kind or "images"), task) if source is None else _from(source, path, task, kind)
    with as_input_error(path), open(path, "x", encoding="utf-8") as file:
        file.write(text)
    command = f"dp real run {shlex.quote(str(path))}"
    say(f"{path}: change what it says about your task, then {command}, first with --quick, which tries every part")


def _from(source: Path, path: Path, task: str, kind: str | None) -> str:
    import torch

    from dp_base.files import as_input_error
    from dp_experiments.cli.real.dividing import divide

    data = path.with_name(f"{task}-data")
    if data.exists():
        raise InputError(f"{data} exists and stays as it is; name another task, or remove it")
    divided, has_gpu = divide(source), torch.cuda.is_available()
    of_texts = not divided.side
    if kind is None:
        drawn = "images" if has_gpu else "denoiser" if divided.side <= TINY else "latent"
        kind = "text" if of_texts else drawn
    if (kind == "text") != of_texts:
        raise InputError(f"--kind {kind}: {source} has {'texts' if of_texts else 'images'}; leave --kind out")
    template = re.sub(r" There are\n# \{\w+\}", "", template_of(kind)).replace("{name}", task)
    if of_texts and not has_gpu:
        template = re.sub(r"\[generator\]\n.*?(?=\n\n\[)", CHAR_LM, template, flags=re.DOTALL)
    with as_input_error(data):
        places = divided.leave(data)
    counts = ", ".join(f"{len(rows):,} for {name}" for name, rows in divided.sets.items())
    grouped = f" {divided.groups:,} groups of copies, names or folders stay together." if divided.groups else ""
    lines = [
        f"[data]\n# {source}: {counts}.{grouped}\n# The learner trains on none of them.",
        f'source = "{"text" if of_texts else "folder"}"',
        f"classes = {json.dumps(divided.classes, ensure_ascii=False)}",
        *(f"{name} = {json.dumps(os.path.relpath(place, path.parent))}" for name, place in places.items()),
        "# Characters of a text; what is beyond is cut off.\nlength = 600"
        if of_texts
        else f"# Pixels a side.\nsize = {SIZES[kind]}",
        *(["channels = 1  # all are grey"] if divided.grey and kind in ("latent", "denoiser") else []),
    ]
    section = "\n".join(lines)
    return re.sub(r"\[data\]\n.*?(?=\n\n)", lambda _: section, template, flags=re.DOTALL)


TINY = 12  # pixels a side, up to which the generator of tiny images is the better one
CHAR_LM = """[generator]
# Writes the examples: a small model of characters, which is trained on data.train on first use, in minutes. It knows no
# more than these texts. On a GPU, or with patience, a language model writes better ones: dp real init NAME --kind text
kind = "char-lm\""""
SIZES = {"images": 224, "latent": 32, "denoiser": 8, "function": 32}  # pixels a side of the images of each template


def template_of(kind: str) -> str:
    """The commented file of a kind; files of images differ in how images are drawn and learned."""
    folder = resources.files("dp_experiments.cli.real")
    if kind == "text":
        return (folder / "text.toml").read_text(encoding="utf-8")
    common = (folder / "images.toml").read_text(encoding="utf-8").replace("{size}", str(SIZES[kind]))
    if kind in ("latent", "denoiser"):  # which are trained on real images
        common = common.replace('# train = "train"', 'train = "train"')
    own = "diffusers" if kind == "images" else kind
    return common.replace("{generator}\n", (folder / f"images-{own}.toml").read_text(encoding="utf-8") + "\n")


def fill(template: str, name: str) -> str:
    """The template with the task's name, and a line about each kind of its sections."""
    from dp_real.data import DATA
    from dp_real.generators import GENERATORS
    from dp_real.learners import LEARNERS

    for registry in (DATA, GENERATORS, LEARNERS):
        lines = [f'#   "{kind}": {summary}' for kind, summary in registry.summaries().items()]
        template = template.replace(f"# {{{registry.what}}}", "\n".join(lines))
    return template.replace("{name}", name)


def keys_command(
    preset: Annotated[str | None, PRESET] = None,
    settings: Set = [],
    as_json: Json = False,
) -> None:
    """Shows a key's value there, where that is from, its default, and what it may be.

    The paper, the authors' earlier code, inferred from the paper's tables, ours, or yours.

    Without a name it lists the presets, with the validation accuracy that the paper reports for the rows of its tables.
    """
    if preset:
        config = load_preset(preset, settings)
        rows = list(keys(config, sources(preset, settings)))
        answer(as_json, {"preset": preset, "keys": rows}, rows)
        return
    rows = [_preset(name) for name in (*preset_names(), *variants())]
    shown = [{key: row[key] for key in row if key not in ("increment", "note")} for row in rows]
    answer(as_json, {"presets": rows}, shown, *(f"{row['preset']}: {row['note']}" for row in rows if row["note"]))


def keys(section: "Section", sources: Mapping[str, str] = {}, prefix: str = "") -> Iterator[dict[str, Any]]:
    """A record for each key of a section, and of the sections within it."""
    from dp_real.runtime.section import Section

    properties = type(section).model_json_schema()["properties"]
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from keys(value, sources, f"{prefix}{name}.")
            continue
        schema = properties[name]
        # The key that names a section's kind is explained by what that kind is.
        meaning = (type(section).__doc__ or "") if name in ("kind", "source") else schema.get("description", "")
        yield {
            "key": f"{prefix}{name}",
            "value": _written(value),
            "source": sources.get(f"{prefix}{name}", "default"),
            "default": "required" if field.is_required() else _written(field.get_default(call_default_factory=True)),
            "may be": _may_be(schema),
            "meaning": meaning.splitlines()[0] if meaning else "",
        }


def _written(value: Any) -> str:
    if value is None:
        return "none"
    from pydantic import TypeAdapter  # of the extra `real`, which help pages do without

    return json.dumps(TypeAdapter(Any).dump_python(value, mode="json"), ensure_ascii=False)


def _may_be(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_may_be(one) for one in schema["anyOf"])
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if choices:
        return " | ".join(map(_written, choices))
    kind: str = schema.get("type", "")
    bounds = [text.format(schema[key]) for key, text in BOUNDS.items() if schema.get(key, HUGE) < HUGE]
    return f"{KINDS.get(kind, kind)} {', '.join(bounds)}".strip()
