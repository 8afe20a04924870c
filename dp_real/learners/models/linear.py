"""The learner of the theory: ridge or logistic regression without intercept, solved in every training step.

    w = argmin (1/n) Σ_i loss(y_i, w·x_i) + (lam/2) |w|²,   y = ±1, n rows in the pool

The loss is (y - w·x)²/2 (paper section 4, without selection) or log(1 + exp(-y w·x)).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from dp_base.errors import InputError
from dp_real.data.examples import Task


class LinearLearner:
    """A linear classifier with logits ±w·x / 2: its entropy is that of sigmoid(w·x)."""

    precision = "float32"
    learning_rate = 1.0  # for logs only, because a step ends at the optimum

    def __init__(
        self,
        task: Task,
        *,
        lam: float,
        loss: Literal["ridge", "logistic"] = "ridge",
    ) -> None:
        if task.n_classes != 2:
            raise InputError(f"learner.kind = 'linear' is for two classes; this generator has {task.n_classes}")
        self.task = task
        self.lam = lam
        self.loss_name = loss
        self.weight = torch.zeros(torch.Size(task.sample_shape).numel(), dtype=torch.float64)
        self.loss = torch.zeros((), dtype=torch.float64)
        self.rows = torch.zeros((), dtype=torch.int64)  # size of the pool for which the weight is optimal

    def logits(self, x: Float[Tensor, "batch *sample"]) -> Float[Tensor, "batch 2"]:
        half = x.flatten(1) @ self.weight.to(x) / 2
        return torch.stack([-half, half], dim=1)

    def train_step(self, x: Float[Tensor, "batch *sample"], y: Int[Tensor, " batch"]) -> None:
        """Solve for the optimum, unless the pool, which only grows, has not grown."""
        n = len(y)
        if n == self.rows:
            return
        rows = x.flatten(1).double().cpu().numpy()
        signs = 2.0 * y.cpu().numpy() - 1
        if self.loss_name == "ridge":
            model = Ridge(alpha=n * self.lam, fit_intercept=False)
        else:
            model = LogisticRegression(C=1 / (n * self.lam), fit_intercept=False, solver="newton-cholesky", tol=1e-9)
        lacking = int(signs.min() == signs.max())  # scikit-learn needs two classes; rows of zeros change no optimum
        padded = np.concatenate([rows, 0 * rows[:lacking]])
        weight = model.fit(padded, np.append(signs, -signs[:lacking])).coef_.ravel()
        margins = signs * (rows @ weight)
        losses = (1 - margins) ** 2 / 2 if self.loss_name == "ridge" else np.logaddexp(0, -margins)
        self.weight = torch.tensor(weight)
        self.loss = torch.tensor(losses.mean())
        self.rows = torch.tensor(n)

    def row_flops(self, sample_shape: Sequence[int]) -> int:
        """0: not counted."""
        return 0

    def drain_loss(self) -> float:
        """The pool's mean loss at the optimum, without the penalty."""
        return self.loss.item()

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "loss": self.loss, "rows": self.rows}

    def load_tensors(self, state: Mapping[str, Tensor], step: int = 0) -> None:
        self.weight = state["weight"]
        self.loss = state["loss"]
        self.rows = state["rows"]

    def finish_at(self, last_step: int) -> None:
        """There is no schedule."""

    def save(self, folder: Path) -> None:
        save_file({"weight": self.weight}, folder / "model.safetensors")

    def load(self, folder: Path) -> None:
        self.weight = load_file(folder / "model.safetensors")["weight"]
