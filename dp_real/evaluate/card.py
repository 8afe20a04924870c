from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from dp_real.config import Config
from dp_real.data.sets.places import HUB
from dp_real.runtime.model_folders import is_hub_id

CITATION = """\
@inproceedings{askarihemmat2025improving,
  title     = {Improving the Scaling Laws of Synthetic Data with Deliberate Practice},
  author    = {Askari-Hemmat, Reyhane and Pezeshki, Mohammad and Dohmatob, Elvis and Bordes, Florian and
               Astolfi, Pietro and Hall, Melissa and Verbeek, Jakob and Drozdzal, Michal and Romero-Soriano, Adriana},
  booktitle = {International Conference on Machine Learning (ICML)},
  year      = {2025},
  eprint    = {2502.15588}
}"""


def model_card(config: Config, result: Mapping[str, Any]) -> str:
    """A Markdown card; `result` is the content of result.json."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in _facts(result).items())
    file = config.to_toml()
    again = "`dp_real.run`, with the same objects," if '= "given' in file else "`dp real run FILE.toml`"
    return f"""{_header(config, result)}# {config.name}

A classifier trained on {_examples(config)}, by Deliberate Practice (arXiv:2502.15588): while it
learns, a generator adds examples that it finds hard. {_start(config)}

| | |
|---|---|
{rows}

The accuracies are for one seed and one set of real examples. The validation ones decided when examples were added.

## Licence

Not stated: it depends on the terms of the generator, and of what the learner started from. Whoever publishes it
fills it in.

## Use

```python
{_use(config)}
```

## Configuration

{again} repeats the run from this file:

```toml
{file.strip()}
```

## Citation

```bibtex
{CITATION}
```
"""


PIPELINE = """\
from transformers import pipeline

classify = pipeline("{task}", model="LEARNER")  # this folder
classify("a text", truncation=True)"""
OPENED = """\
import numpy as np
from PIL import Image, ImageOps
from transformers import pipeline


def opened(path):  # as for the learner's accuracy: 16 bits are scaled, and transparent pixels lie over white
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


classify = pipeline("{task}", model="LEARNER")  # this folder; given a path, it would drop the transparency
classify(opened("image.png"))"""
OWN = """\
{needed}
from dp_real import load_learner

learner = load_learner("LEARNER")  # this folder, or its id on the hub
x = {x}
[learner.task.classes[k] for k in learner.logits(x).argmax(1)]"""


def _use(config: Config) -> str:
    shape = config.task.sample_shape
    is_image = len(shape) == 3
    if config.learner.library is None:
        if config.data.modality == "text":
            codes = 'to_codes(["a text", "another"], *learner.task.sample_shape)'
            return OWN.format(needed="from dp_real.text.codes import to_codes", x=codes)
        x = f"torch.zeros(1, {', '.join(map(str, shape))})" + ("  # values in [-1, 1]" if is_image else "")
        return OWN.format(needed="import torch\n", x=x)
    return (OPENED if is_image else PIPELINE).format(task=config.data.pipeline_tag)


def _examples(config: Config) -> str:
    few = config.data.real_per_class
    if few and not config.practice.needs_generator:
        return f"{few} real examples a class"
    if not config.practice.needs_generator:
        return "the real examples that its generator was trained on"
    if config.practice.real:
        return f"{config.practice.real:,} real examples, and generated ones"
    return f"{few} real examples a class, and generated ones" if few else "generated examples only"


def _start(config: Config) -> str:
    known = ", ".join(f"`{model}`" for model in config.learner.weights().values())
    return f"It started from {known}, and knows what that was trained on." if known else "It started from scratch."


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
    test, forwards = result["test_accuracy"], result["denoiser_forwards"]
    passes = f"{forwards:,} forward, {result['denoiser_backwards']:,} backward"
    counted = {what: result[f"{what}_flops"] for what in ("generation", "training")}
    facts = {
        "accuracy on test examples": None if test is None else f"{test:.4f}",
        "accuracy on validation examples": f"{result['val_accuracy']:.4f}",
        "training examples": f"{result['pool_size']:,}",
        "examples generated for them": f"{result['samples_generated']:,}",
        "rounds of addition": result["additions"],
        "optimizer steps": f"{result['steps']:,}",
        "seed": result["seed"],
        "seconds": f"{result['seconds']:,.1f}, {result['generation_seconds']:,.1f} of them for generation",
        "denoiser evaluations": passes if forwards else None,  # a generator of texts has no denoiser
        "FLOPs": ", ".join(f"{flops:.2g} of {what}" for what, flops in counted.items() if flops) or None,
        "versions": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _header(config: Config, result: Mapping[str, Any]) -> str:
    """The hub's metadata; empty if no library can read the learner."""
    if config.learner.library is None:
        return ""
    places = getattr(config.data, "places", {})
    accuracies = {"validation": result["val_accuracy"], "test": result["test_accuracy"]}
    accuracies |= {row["set"]: row["accuracy"] for row in result["sets"]}
    measured = []
    for name, accuracy in accuracies.items():
        on_hub = HUB.match(places.get(name, ""))
        kind = on_hub["id"] if on_hub else config.data.source
        if accuracy is not None:
            measured.append(EvalResult(config.data.pipeline_tag, kind, name, "accuracy", accuracy, dataset_split=name))
    data = ModelCardData(
        base_model=[model for model in config.learner.weights().values() if is_hub_id(model)] or None,
        model_name=config.name,
        library_name=config.learner.library,
        pipeline_tag=config.data.pipeline_tag,
        tags=["synthetic-data", "arxiv:2502.15588"],
        eval_results=measured,
    )
    return f"---\n{data.to_yaml()}\n---\n"
