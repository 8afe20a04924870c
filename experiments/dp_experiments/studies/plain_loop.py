"""What practice is worth in a plain training loop, on digits and words.

`python -m dp_experiments.studies.plain_loop digits|words SPLIT FILE.csv` adds a row for each arm: practice, and static
data of the same size, in the same loop, at a constant rate and then a cool-down.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader

from dp_experiments.presets.presets import load_preset
from dp_real import Practice, load_generator
from dp_real.data import DataConfig
from dp_real.data.examples import RealData

EPOCHS = 100  # of the loop; in the last fifth the rate falls to 0, and nothing is added
SIZES = {"digits": (100, 100, 9), "words": (1320, 1320, 5)}  # initial, increment, additions, as in the presets
KEYS: dict[str, dict[str, Any]] = {"digits": {"omega": "auto"}, "words": {"candidates": 2, "omega": 20.0}}


def train(study: str, generator: Any, source: DataConfig, data: RealData, arm: str, seed: int) -> tuple[int, float]:
    """Samples, and the test accuracy in per cent."""
    initial, increment, additions = SIZES[study]
    if arm == "static":
        initial, additions = initial + additions * increment, 0
    task, is_text = source.task, study == "words"
    torch.manual_seed(seed)
    if is_text:
        from dp_real.text.codes import to_codes
        from dp_real.text.models.ngrams import NGramNetwork

        model: nn.Module = NGramNetwork(task.n_classes)
    else:
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def codes(texts: list[str]) -> torch.Tensor:
        return to_codes(texts, task.sample_shape[0])

    with tempfile.TemporaryDirectory() as folder:
        practice = Practice(
            generator,
            task.classes,
            folder,
            shape=None if is_text else task.sample_shape,
            initial=initial,
            increment=increment,
            additions=additions,
            epoch_size=3200,
            preprocess=codes if is_text else None,
            transform=(lambda text: codes([text])[0]) if is_text else None,
            seed=seed,
            **KEYS[study],
        )
        loader = DataLoader(practice.dataset, 64, shuffle=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3 if is_text else 1e-3)
        lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: min(1.0, 5 * (1 - epoch / EPOCHS)))
        for epoch in range(EPOCHS):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y, label_smoothing=0.1 * is_text).backward()
                optimizer.step()
            lr_scheduler.step()
            if epoch < 0.8 * EPOCHS:
                practice.step(accuracy(model, data.validation), model)
        return len(practice.pool), 100 * accuracy(model, data.test)


@torch.no_grad()
def accuracy(model: nn.Module, examples: Any) -> float:
    return (model.eval()(examples.x[:]).argmax(1) == examples.y).double().mean().item()


def main(study: str, split: int, file: Path) -> None:
    config = load_preset(study, [f"data.split={split}"])
    data = config.data.load()
    generator = load_generator(config, data)
    for arm in ("practice", "static"):
        samples, reached = train(study, generator, config.data, data, arm, split)
        row = {"study": study, "split": split, "arm": arm, "samples": samples, "test_accuracy": round(reached, 3)}
        print(row)
        pd.DataFrame([row]).to_csv(file, mode="a", index=False, header=not file.exists())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
