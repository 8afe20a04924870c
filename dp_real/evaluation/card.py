"""The model card of a trained learner, with the facts of its run."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from dp_real.config import Config

CITATION = """\
@inproceedings{askarihemmat2025improving,
  title = {Improving the Scaling Laws of Synthetic Data with Deliberate Practice},
  author = {Askari-Hemmat and Pezeshki and Dohmatob and Bordes and Astolfi and Hall and Verbeek and Drozdzal
            and Romero-Soriano},
  booktitle = {International Conference on Machine Learning},
  year = {2025},
  eprint = {2502.15588},
  archiveprefix = {arXiv},
}"""


def model_card(config: Config, result: Mapping[str, Any]) -> str:
    """The card in Markdown. result: the content of result.json."""
    known = ", ".join(f"`{model}`" for model in config.learner.weights().values())
    start = f"It started from {known}, and knows what that was trained on." if known else "It started from scratch."
    examples = "generated examples only"
    if config.practice.start == "real":
        examples = f"{config.practice.real_examples:,} real examples, and generated ones"
    if config.practice.examples == "real":
        examples = "the real examples that its generator was trained on"
    tested = {} if result["test_accuracy"] is None else {"accuracy on test examples": f"{result['test_accuracy']:.4f}"}
    facts = tested | {
        "accuracy on validation examples": f"{result['val_accuracy']:.4f}",
        "training examples": f"{result['pool_size']:,}",
        "examples generated for them": f"{result['samples_generated']:,}",
        "rounds of addition": result["additions"],
        "optimizer steps": f"{result['steps']:,}",
        "seed": result["seed"],
        "seconds": f"{result['seconds']:.0f}, {result['generation_seconds']:.0f} of them for generation",
        "denoiser evaluations": f"{result['denoiser_forwards']:,} forward, {result['denoiser_backwards']:,} backward",
        "FLOPs": f"{result['generation_flops']:.2g} of generation, {result['training_flops']:.2g} of training",
        "versions": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"""{_header(config)}# {config.name}

A classifier trained on {examples}, by Deliberate Practice (arXiv:2502.15588): while it
learns, a generator adds examples that it finds hard. {start}

| | |
|---|---|
{rows}

The accuracies are for one seed and one set of real examples. The validation ones decided when examples were added.

## Configuration

`dp real run FILE.toml` repeats the run from this file:

```toml
{config.to_toml().strip()}
```

## Citation

```bibtex
{CITATION}
```
"""


def _header(config: Config) -> str:
    """The hub's metadata block; empty unless a library can read the learner."""
    if config.learner.library is None:
        return ""
    data = ModelCardData(
        library_name=config.learner.library,
        pipeline_tag="text-classification" if config.data.text else "image-classification",
        tags=["synthetic-data"],
    )
    return f"---\n{data.to_yaml()}\n---\n"
