"""The three problems in a row, and what is shown of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pgplugins.diagnostics.main_job.cartpole import SOLVED, Training, train
from pgplugins.diagnostics.main_job.extras import require_extras
from pgplugins.diagnostics.main_job.logistic_regression import (
    compare_on_logistic_regression,
)
from pgplugins.diagnostics.main_job.lqr import compare_on_lqr
from pgplugins.diagnostics.result import Comparison
from pgplugins.infer.choice import EstimatorLike

PICTURE = "compare.png"


@dataclass(frozen=True)
class MainJob:
    """What the main job found.

    Args:
        comparisons: One per objective, every estimator in each.
        training: The policy that was trained on CartPole.
    """

    comparisons: list[Comparison]
    training: Training

    def to_dict(self, *, detail: bool = False) -> dict[str, Any]:
        """The rows of all objectives in one list, the rest by objective.

        Args:
            detail: Include the figures of every parameter.
        """
        found = [comparison.to_dict(detail=detail) for comparison in self.comparisons]
        rows = [row for entry in found for row in entry.pop("rows")]
        return {
            "rows": rows,
            "objectives": found,
            "training": self.training.to_dict(),
        }

    def save_picture(self, directory: Path) -> Path:
        """Draw every objective and the learning curve side by side.

        Args:
            directory: Made if it does not exist.

        Returns:
            The picture's path.
        """
        directory.mkdir(parents=True, exist_ok=True)
        panels = len(self.comparisons) + 1
        figure = Figure(figsize=(5.5 * panels, 4.5), layout="constrained")
        axes = figure.subplots(1, panels)
        for comparison, ax in zip(self.comparisons, axes, strict=False):
            comparison.plot(ax)
        _draw_curve(self.training, axes[-1])
        path = directory / PICTURE
        figure.savefig(path, dpi=150)
        return path


def run(estimators: Sequence[EstimatorLike], seed: int) -> MainJob:
    """Compare estimators on two objectives, and train a policy with the score function.

    Args:
        estimators: Names or instances; each must fit both objectives.
        seed: Fixes every random number; the times still vary. Torch runs on
            one thread meanwhile.

    Raises:
        MissingExtraError: Scikit-learn or Gymnasium is not installed.
        EstimatorError: An estimator does not fit.
    """
    require_extras()
    with _one_thread():
        return MainJob(
            comparisons=[
                compare_on_logistic_regression(estimators, seed),
                compare_on_lqr(estimators, seed),
            ],
            training=train(seed),
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: tensors this small only make others wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _draw_curve(training: Training, ax: Axes) -> None:
    ax.plot(training.env_steps, training.mean_return, label=training.estimator)
    ax.axhline(SOLVED, linestyle=":", color="grey", label="solved")
    ax.set_xlabel("environment steps")
    ax.set_ylabel("mean return of an update's episodes")
    ax.set_title(training.objective)
    ax.legend()
