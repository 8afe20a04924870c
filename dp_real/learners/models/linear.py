"""The learner of the theory: ridge or logistic regression without intercept, solved in every training step.

    w = argmin (1/n) Σ_i loss(y_i, w·x_i) + (lam/2) |w|²,   y = ±1, n the number of rows in the pool

with loss = (y - w·x)²/2 (paper section 4, every row kept) or log(1 + exp(-y w·x)).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from dp_base.errors import InputError
from dp_real.runtime.shares import StepShare


class LinearLearner:
    """A linear classifier with logits ±kappa w·x / 2, whose entropy is that of sigmoid(kappa w·x)."""

    precision = "float32"
    learning_rate = 1.0  # for the logs only: a step goes all the way to the optimum

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        n_classes: int,
        *,
        lam: float,
        loss: Literal["ridge", "logistic"] = "ridge",
        kappa: float = 1.0,
    ) -> None:
        """Start at w = 0, where every entropy is ln 2. Raises InputError unless there are two classes."""
        if n_classes != 2:
            raise InputError(f"learner.kind = 'linear' tells two classes apart; this generator has {n_classes}")
        self.lam, self.loss_name, self.kappa = lam, loss, kappa
        self.weight = torch.zeros(torch.Size(sample_shape).numel(), dtype=torch.float64)
        self.loss = torch.zeros((), dtype=torch.float64)
        self.rows = torch.zeros((), dtype=torch.int64)  # size of the pool that the weight is the optimum for

    def logits(self, x: Tensor) -> Tensor:
        """See Learner."""
        half = self.kappa / 2 * (x.flatten(1) @ self.weight.to(x))
        return torch.stack([-half, half], dim=1)

    def train_step(self, x: Tensor, y: Tensor, share: StepShare | None = None) -> None:
        """Solve on the whole pool (training.batch_size = 0), unless its size is unchanged: a pool only grows."""
        n = len(y)
        if n == self.rows:
            return
        rows, signs = x.flatten(1).double().cpu().numpy(), 2.0 * y.cpu().numpy() - 1
        if self.loss_name == "ridge":
            model = Ridge(alpha=n * self.lam, fit_intercept=False)
        else:
            model = LogisticRegression(C=1 / (n * self.lam), fit_intercept=False, solver="newton-cholesky", tol=1e-9)
        weight = model.fit(rows, signs).coef_.ravel()
        margins = signs * (rows @ weight)
        losses = (1 - margins) ** 2 / 2 if self.loss_name == "ridge" else np.logaddexp(0, -margins)
        self.load_tensors(
            {"weight": torch.tensor(weight), "loss": torch.tensor(losses.mean()), "rows": torch.tensor(n)}
        )

    def row_flops(self, sample_shape: Sequence[int]) -> int:
        """0: the solver's FLOPs are not counted."""
        return 0

    def drain_loss(self) -> float:
        """Mean loss of the pool's rows at the optimum, without the penalty."""
        return self.loss.item()

    def tensors(self) -> dict[str, Tensor]:
        """The solution, its loss, and the number of rows that it is for."""
        return {"weight": self.weight, "loss": self.loss, "rows": self.rows}

    def load_tensors(self, state: Mapping[str, Tensor], step: int = 0) -> None:
        """See Learner."""
        self.weight, self.loss, self.rows = state["weight"], state["loss"], state["rows"]

    def finish_at(self, last_step: int) -> None:
        """There is no schedule."""

    def save(self, folder: Path) -> None:
        """Write model.safetensors, with weight [d]."""
        save_file({"weight": self.weight}, folder / "model.safetensors")

    def load(self, folder: Path) -> None:
        """See Learner."""
        self.weight = load_file(folder / "model.safetensors")["weight"]
