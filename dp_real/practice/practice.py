"""Deliberate practice (paper Algorithm 1) without the training: a pool that grows when a metric stops rising."""

import difflib
import math
import os
import tomllib
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
import tomli_w
import torch
from accelerate.utils import extract_model_from_parallel
from jaxtyping import Int64
from torch import Tensor, nn

from dp_base.checksums import json_digest
from dp_base.errors import InputError, warn_once
from dp_base.files import append_row, remove, write_text
from dp_base.locks import locked
from dp_base.reading import own_file, read_rows, shortened
from dp_real.guidance.entropy import Logits, logits_of
from dp_real.guidance.section import GuidanceConfig, SamplingConfig
from dp_real.pool.pool import Pool, rounds_of
from dp_real.pool.section import PoolConfig
from dp_real.practice.dataset import PracticeDataset
from dp_real.practice.objects import is_pipeline, remember_digest, with_objects
from dp_real.practice.rounds import INITIAL_BUDGET, Rounds, at_limit, filling, first_addition, loaded, real_labels
from dp_real.practice.section import DrawingConfig, PracticeConfig, differences, validated
from dp_real.runtime import distributed
from dp_real.runtime.computing import eval_mode, seeded_default_modes
from dp_real.runtime.object_digest import object_digest
from dp_real.text.codes import texts_of

UNBOUNDED = 10**9  # samples if additions are unlimited
TINY = 1e-30  # a lower bound of probabilities
ROUNDED = 0.02  # by which a sum of probabilities of two digits, or of half precision, may differ from 1
TEXT_LENGTH = 1000  # characters of a text at most, unless `shape` is given
GUIDANCE_SCALE = 4.0  # of a pipeline, or less if it is usually called with less; the paper's lambda + 1
SECTIONS = {"practice": PracticeConfig, "guidance": GuidanceConfig, "sampling": SamplingConfig, "pool": PoolConfig}
AVERAGING = {"AveragedModel", "ModelEmaV2", "ModelEmaV3"}  # torch's and timm's wrappers of a model
COSTS = {
    "generated": "generated",
    "redrawn": "redrawn",
    "flops": "flops",
    "forwards": "denoiser_forwards",
    "backwards": "denoiser_backwards",
}
"""A cost's name -> its column in rounds.jsonl."""
OF_RUNS = set(
    ["encoder", "watch", "real", "imbalance", "classes", "new_sample_weight", "evaluate_every", "in_warmup", "size"]
)
"""Keys for which a training program has its own code, or Practice an argument."""


@dataclass(kw_only=True)
class PracticeState:
    """The state that evaluations and additions change."""

    rounds: int = 0  # in the pool, the initial one included
    stale: int = 0  # T: evaluations since the metric last rose or data was last added
    best: float | None = None  # best metric
    guidance_budget: float = INITIAL_BUDGET  # of the next round's first rows
    costs: Counter[str] = field(default_factory=Counter)  # of generating samples, see Drawn

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The state in a file's record, which has more; an older one says total_guidance for guidance_budget."""
        known = {"guidance_budget": record.get("total_guidance", INITIAL_BUDGET), **record}
        return cls(**{each.name: known[each.name] for each in fields(cls) if each.name in known})

    def __post_init__(self) -> None:
        self.costs = Counter(self.costs)  # a dict, if read from a file


class Added(NamedTuple):
    """The newest round as a row of rounds.jsonl, and the seconds that existing blocks saved."""

    row: dict[str, Any]
    saved: float


@dataclass
class Additions:
    """Decides when to add which samples, in any training. `rounds` is None if nothing is added."""

    config: DrawingConfig
    pool: Pool
    state: PracticeState
    rounds: Rounds | None

    def __post_init__(self) -> None:
        self.n_classes = self.config.task.n_classes

    def observe(self, metric: float) -> None:
        """Record an evaluation: a new best metric resets T to 0; otherwise T rises by 1."""
        state = self.state
        is_best = state.best is None or metric > state.best + self.config.practice.min_delta
        state.stale = 0 if is_best else state.stale + 1
        state.best = metric if is_best else state.best

    @property
    def are_left(self) -> bool:
        return self.state.rounds < self.config.practice.additions + first_addition(self.config)

    @property
    def are_due(self) -> bool:
        """Whether T ≥ T_max, and additions are left."""
        return self.are_left and self.state.stale >= self.config.practice.t_max(len(self.pool))

    def labels(self, count: int) -> Int64[Tensor, " count"]:
        """The classes of the next examples: real ones first, then each class equally often, or the rarest first."""
        real = real_labels(self.config, self.state.rounds)
        taken, count = torch.cat([self.pool.y, real]), count - len(real)
        if self.config.practice.classes == "fill":
            return torch.cat([real, filling(taken.bincount(minlength=self.n_classes), count)])
        return torch.cat([real, (len(taken) + torch.arange(count)) % self.n_classes])

    def draw_round(self, logits: Logits | None, labels: Int64[Tensor, " count"]) -> Added:
        """Add samples that are hard for these logits, or at first plain ones, and reset T. All processes call this."""
        state, rounds = self.state, self.rounds
        assert rounds is not None, "a branch adds nothing"
        distributed.clear_device_cache()  # memory that training holds, for libraries that draw
        drawn = rounds.draw(state.rounds, labels, logits, state.guidance_budget)
        distributed.clear_device_cache()  # memory that drawing holds, for training
        self.pool.append(state.rounds, drawn.rows, drawn.files)
        row = {"round": state.rounds} | self._row(drawn.costs, knows=logits is not None)
        state.costs.update(drawn.costs)
        state.guidance_budget = drawn.guidance_budget
        state.rounds += 1
        state.stale = 0
        return Added(row, drawn.saved)

    def _row(self, costs: Counter[str], knows: bool) -> dict[str, Any]:
        facts = self.pool.table(newest=True)
        label, omega, entropy, correct = (facts[name].to_numpy() for name in ("label", "omega", "entropy", "correct"))
        return {
            "count": len(facts),
            "omega": float(omega.mean(dtype=float)),
            "entropy": float(entropy.mean(dtype=float)),
            "fraction_wrong": 1 - float(correct.mean()) if knows else math.nan,
            "rarest_class": int(np.bincount(label, minlength=self.n_classes).min()),
        } | {key: costs[name] for name, key in COSTS.items()}


class Practice(Additions):
    """A data set that grows by samples that are hard for a model, each time its metric stops rising.

    Making it draws the initial samples. All processes of a training make it, after init_process_group, and call its
    methods together; the main process's metric, weights and state decide.

    Parameters
    ----------
    generator
        A pipeline of diffusers, whose parts are frozen, and drawn by DDIM if it is Stable Diffusion 1, 2 or XL or DiT;
        a Generator (dp_real.protocols), which may take guidance; a function
        (labels int64 [1], torch.Generator) -> a sample float [1, *shape] in [-1, 1], or a list of one text; or a
        section [generator] as a dictionary, such as {"kind": "openai", …}.
    classes
        Their names, in the order of the labels, or {name: prompt or prompts} for a pipeline.
    folder
        The folder of the pool, in Arrow files, and of rounds.jsonl and metrics.jsonl. It has one writer at a time.
    shape
        The shape of a stored sample: [channels, height, width] for images. None: texts, of at most 1,000 characters or
        the Generator's `sample_shape`; for longer ones [characters], and storage="text".
    initial, increment, additions
        Samples before training, samples of each addition, and the most additions; None: no limit. With initial = 0
        nothing is drawn until a model has learned from other data.
    patience, min_delta
        Samples are added at the `patience`-th evaluation in a row that does not exceed the best one by more than
        `min_delta`. Early stopping in Lightning and transformers counts in this way, too; torch's ReduceLROnPlateau
        waits for one more.
    epoch_size
        The length of `dataset`, which is constant, so that schedules stay valid. None: `initial`, or `increment`
        without initial samples. 0: the whole pool, so that passes grow.
    preprocess
        A differentiable function of samples in [-1, 1] to the model's input; for texts, a tokenizer. A dictionary is
        passed as keyword arguments. An image processor of transformers, or torchvision's weights.transforms(): what it
        does to images. None: these are prepared by the saved processor of a model of transformers or timm's
        pretrained_cfg; others are unchanged.
    transform
        A function of one sample for training: a Pillow image of 1 or 3 channels, a tensor, or a text. It can be set
        later: `practice.dataset.transform`.
    seed
        The seed of all draws.
    keys
        Keys of the sections [guidance], [sampling], [practice] and [pool] without OF_RUNS: omega, wrong_share,
        candidates, through, every, steps, patience_growth, storage, distinct, … (`dp real keys`). guidance_scale is the
        paper's 4 for pipelines that are usually called with as much or more. objective is a name, or a function of
        logits [batch, classes] that is raised in place of their entropy.

    Raises
    ------
    InputError
        If a generator, a key or a model does not fit, another process writes the folder, or it has samples of other
        keys.
    DamagedError
        If a file of the folder cannot be read, or is missing.
    DivergedError
        If samples or logits are not finite.

    Examples
    --------
        practice = Practice(pipe, ["crane", "bus"], "pool", shape=(3, 64, 64), initial=1000, increment=500)
        loader = DataLoader(practice.dataset, batch_size=64, shuffle=True)
        for epoch in range(90):
            train(model, loader)
            practice.step(evaluate(model), model)
    """

    rounds: Rounds

    def __init__(
        self,
        generator: Any,
        classes: Sequence[str] | Mapping[str, Any],
        folder: str | Path,
        *,
        shape: Sequence[int] | None = None,
        initial: int,
        increment: int,
        additions: int | None = None,
        patience: int = 3,
        min_delta: float = 0.0,
        epoch_size: int | None = None,
        preprocess: Callable[[Any], Any] | None = None,
        transform: Callable[[Any], Any] | None = None,
        seed: int = 0,
        **keys: Any,
    ) -> None:
        keys |= {"initial": initial, "increment": increment, "patience": patience, "min_delta": min_delta}
        keys |= {} if additions is None else {"additions": additions}
        self.folder, self.preprocess = Path(folder).absolute(), preprocess
        self.evaluations, self._goes_on, self._lock = 0, False, None
        self._objective = keys.get("objective")  # a function is found by its digest while it is in use
        with drawing_config(generator, classes, shape, seed, keys) as config:
            practice = config.practice
            if additions is None:
                unlimited = {"additions": (UNBOUNDED - practice.initial) // practice.increment}
                practice = practice.model_copy(update=unlimited)
                config = config.model_copy(update={"practice": practice})
            self._training = json_digest([config.seed, *config.task.classes])[:16]
            self._claim(config)
            drawer = loaded(config)
        pool = Pool(self.folder / "pool", config.pool_shape, 0, config.pool, config.task.classes)
        super().__init__(config, pool, PracticeState(), Rounds(config, pool, self.folder / "drawing", drawer))
        if 0 < practice.initial < self.n_classes:
            warn_once(f"initial = {practice.initial}: fewer samples than the {self.n_classes} classes")
        length = practice.initial or practice.increment if epoch_size is None else epoch_size
        self.dataset = PracticeDataset(pool, length, transform)
        if practice.initial and rounds_of(pool.path):
            self._open(self._began())
        elif practice.initial:
            self.add(None, practice.initial)

    def step(self, metric: float, model: Any) -> bool:
        """Record an evaluation; if patience runs out, add samples that are hard for the model.

        Parameters
        ----------
        metric
            A finite number that rises as the model improves: an accuracy, or minus a loss.
        model
            A torch module, which is unwrapped, or any function of a batch that returns logits, log-probabilities or
            probabilities [batch, classes], such as scikit-learn's predict_proba. If the sampler is guided, it must be
            differentiable. Its weights, buffers and modes do not change.

        Returns
        -------
        bool
            Whether the data set has grown.
        """
        self._agree()
        distributed.on_main(self._count_later)  # it may raise, before anything is recorded
        metric = distributed.on_main(lambda: _number(metric))  # that of others may be None
        if not self.evaluations and self.are_left and len(self.pool) and model is not None:
            with model_logits(model, self.preprocess, self.config) as logits:
                # It may raise, before hours of training are at stake. One text would need no padding.
                self.rounds.try_out(cast(Logits, logits), self.pool.x[:2])
        before = self.state_dict()
        self.evaluations += 1
        self.observe(metric)
        added = self.are_due
        try:
            if added:
                self.add(model)
        except BaseException:
            if distributed.this_process().num_processes == 1:  # a notebook, whose user may make this call again
                goes_on = self._goes_on
                with suppress(InputError):  # the folder may be gone
                    self.load_state_dict(before)
                self._goes_on = goes_on
            raise
        self._log("metrics", {"metric": metric, "pool_size": len(self.pool), **self.state_dict()})
        return added

    def __repr__(self) -> str:
        return f"Practice({str(self.folder)!r}: {len(self.pool)} samples, {self.state.rounds} rounds)"

    def __getstate__(self) -> Any:
        raise InputError("a Practice cannot be copied: make it in each process, or let Lightning use ddp or ddp_fork")

    def add(self, model: Any, labels: int | Sequence[int] | Tensor | None = None) -> dict[str, Any]:
        """Add samples that are hard for the model, whatever patience says.

        `labels` is their number, or the class of each; None: `increment`. Returns the round's row of rounds.jsonl.
        """
        self._agree()
        if model is None and self.state.rounds >= first_addition(self.config):
            raise InputError("the model is None: give the one for which samples should be hard")
        if distributed.on_main(self._count_later):
            self.pool.drop_later()
        self._goes_on = True  # later rounds are from now on this object's
        with model_logits(model, self.preprocess, self.config) as logits:
            labels = distributed.on_main(lambda: self._labels_of(labels))
            # Only for the same classes, strength, weights and preprocess a stopped round continues.
            drawn = [labels, self.state.guidance_budget, logits and [weights_values(model), self.preprocess]]
            name = distributed.on_main(lambda: object_digest(drawn))
            self.rounds.folder = self.folder / "drawing" / name
            try:
                added = self.draw_round(logits, labels)
            finally:
                remember_digest(getattr(self.config.generator, "digest", ""))
        if distributed.this_process().is_main_process:
            remove(self.folder / "drawing")
        self.dataset.update(self.pool)
        row = {"evaluation": self.evaluations} | added.row
        self._log("rounds", row)
        if logits is not None and (remark := at_limit(self.config, row["omega"])):
            warn_once(remark)
        return row

    def _agree(self) -> None:
        """Wait for all processes, and take the state of the main one, which alone may have loaded a checkpoint."""
        distributed.wait_for_everyone()
        state = distributed.from_main(self.state_dict())
        if state != self.state_dict():
            self.load_state_dict(state)

    def _count_later(self) -> int:
        """Rounds in the folder that this state does not have. InputError if they, or the folder, are another's."""
        if not cast(Any, self._lock).alive:
            raise InputError(f"a newer Practice of this program has taken over {self.folder}: use that one")
        later = (there := len(rounds_of(self.pool.path))) - self.state.rounds
        if later < 0:
            raise InputError(f"{self.folder} has {there} of {self.state.rounds} rounds of samples: put it back there")
        if later > 0 and not self._goes_on:
            raise InputError(
                f"{self.folder} has {later} later rounds of samples: call load_state_dict or resume to go on from a "
                "checkpoint; remove the folder, or name a new one, to begin anew"
            )
        return later

    def _labels_of(self, labels: int | Sequence[int] | Tensor | None) -> Int64[Tensor, " count"]:
        labels = self.config.practice.increment if labels is None else labels
        if isinstance(labels, int | np.integer) and labels > 0:
            return self.labels(int(labels))
        values = np.asarray(labels.tolist() if isinstance(labels, Tensor) else labels)
        if values.ndim != 1 or values.dtype.kind not in "iu" or not set(values.tolist()) <= set(range(self.n_classes)):
            gave = shortened(str(labels))
            raise InputError(f"labels = {gave}: should be a count, or classes 0 to {self.n_classes - 1}")
        return torch.tensor(values).long()

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint of the training; the samples stay in the folder."""
        return asdict(self.state) | {
            "costs": dict(self.state.costs),
            "evaluations": self.evaluations,
            "training": self._training,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint. The next addition drops later rounds."""
        there = len(rounds_of(self.pool.path))
        rounds = state.get("rounds")
        if rounds not in range(there + 1):
            raise InputError(
                f"the checkpoint has {rounds} rounds of samples, {self.folder} has {there}: name that training's folder"
            )
        if state.get("training", self._training) != self._training:
            raise InputError(
                f"the checkpoint has another seed or classes than {self.folder}: name that training's folder"
            )
        self.evaluations, self._goes_on = state.get("evaluations", 0), True
        self._open(PracticeState.from_record(state))

    def resume(self, evaluations: int) -> None:
        """Continue as after this many calls of `step`, for programs whose checkpoints cannot hold this state."""
        log = self.folder / "metrics.jsonl"
        began = vars(self._began())
        with own_file(log, "restore it, or load_state_dict of a checkpoint"):
            states = {0: began} | {row["evaluations"]: row for row in read_rows(log)}  # the latest of each
            last = max(states)
            if evaluations not in range(last + 1):
                raise InputError(f"{log} ends with evaluation {last}: practice.resume({evaluations}) is not in it")
            self.load_state_dict(states[evaluations])

    def _began(self) -> PracticeState:
        """The state before the first evaluation."""
        if not self.config.practice.initial:
            return PracticeState()
        log = self.folder / "rounds.jsonl"
        with own_file(log, "restore it, or remove it, and the costs of the first round count as 0"):
            row = next((row for row in read_rows(log) if row["round"] == 0), {})
            return PracticeState(rounds=1, costs=Counter({name: row.get(key, 0) for name, key in COSTS.items()}))

    def _open(self, state: PracticeState) -> None:
        self.state, pool = state, self.pool
        pool = Pool(pool.path, pool.sample_shape, state.rounds, pool.config, self.config.task.classes)
        self.pool = self.rounds.pool = pool
        self.dataset.update(pool)

    def _log(self, name: str, row: Mapping[str, Any]) -> None:
        if distributed.this_process().is_main_process:
            append_row(self.folder / f"{name}.jsonl", row)

    def _claim(self, config: DrawingConfig) -> None:
        """Lock the folder for this object's lifetime. InputError if its samples were drawn with other keys."""
        file = self.folder / "practice.toml"

        def claim() -> None:
            self._lock = lock_until_gone(self, self.folder)
            is_empty = not rounds_of(self.folder / "pool") and not (self.folder / "drawing").exists()
            if is_empty or not file.exists():
                return write_text(file, tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))
            with own_file(file, "restore it, or remove it if the samples are of these keys"):
                known = validated(DrawingConfig, tomllib.loads(file.read_text(encoding="utf-8")), str(file))
            for key, (was, now) in differences(known, config, {*MAY_CHANGE, *config.neutral_keys}).items():
                what = f"{key} = {was!r}, not {now!r}"
                if key == "generator.digest":
                    what = "a generator that differed in its code, its values, or globals of its code"
                raise InputError(
                    f"{self.folder} has samples of {what}: name a new folder, or remove {file.name} there if they "
                    "fit nevertheless"
                )

        distributed.on_main(claim)


MAY_CHANGE = ("practice.additions", "practice.patience", "practice.min_delta", "practice.patience_growth")
"""Keys that no sample depends on."""


@contextmanager
def drawing_config(
    generator: Any,
    classes: Sequence[str] | Mapping[str, Any],
    shape: Sequence[int] | None,
    seed: int,
    keys: Mapping[str, Any],
) -> Iterator[DrawingConfig]:
    """The configuration that Practice's arguments mean; within the block the generator can be loaded."""
    keys = {**keys}
    objective = keys.pop("objective") if callable(keys.get("objective")) else None
    raw = by_section(keys)
    is_ordered = isinstance(classes, Iterable) and not isinstance(classes, str | set | frozenset)
    names = [*classes] if is_ordered else []  # a set has another order in each process
    if len(names) < 2 or not all(isinstance(name, str) and names.count(name) == 1 for name in names):
        raise InputError(
            f"classes = {classes!r}: should be at least two different names in order, or {{name: prompts}}"
        )
    if shape is None or raw["pool"].get("storage") == "text":
        import dp_real.text.sources  # noqa: F401 (registers given-texts)

        raw["data"] = {"source": "given-texts", "shape": shape or getattr(generator, "sample_shape", (TEXT_LENGTH,))}
        raw["pool"] = {"storage": "text"} | raw["pool"]
    else:
        raw["data"] = {"source": "given", "digest": "", "shape": shape}
    raw["data"] |= {"classes": names}
    raw["seed"] = seed
    if is_pipeline(generator):
        raw["guidance"] = ({"through": "x0"} if keys.get("candidates", 1) == 1 else {}) | raw["guidance"]
        from dp_real.generators.pipelines.generator import guidance_argument

        if scale := guidance_argument(generator):
            raw["sampling"] = {"guidance_scale": min(GUIDANCE_SCALE, scale.default)} | raw["sampling"]
        if isinstance(classes, Mapping):
            own = {name: [prompts] if isinstance(prompts, str) else [*prompts] for name, prompts in classes.items()}
            raw["generator"] = {"prompts": own}
    elif isinstance(classes, Mapping):
        raise InputError(
            "classes: prompts of a class are for a pipeline: give a list of names, and the generator prompts"
        )
    is_section = isinstance(generator, Mapping)
    if is_section:
        raw["generator"] = {**generator}
    with with_objects(raw, generator=None if is_section else generator, objective=objective) as whole:
        config = validated(DrawingConfig, whole, "Practice")
        if config.generator.trained_here or config.generator.shows_examples:
            raise InputError(
                "a Practice has no real examples, which this generator needs: give it dp_real.load_generator(…)"
            )
        yield config


def by_section(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of a configuration that have these keys."""
    raw: dict[str, Any] = {name: {} for name in SECTIONS}
    homes = {key: name for name, kind in SECTIONS.items() for key in kind.model_fields if key not in OF_RUNS}
    for key, value in keys.items():
        if key not in homes:
            similar = difflib.get_close_matches(key, homes, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(sorted(homes))}"
            if key in OF_RUNS:
                hint = "it is for dp_real.run, where you have an argument, data or code of your own"
            raise InputError(f"Practice has no key {key}: {hint}")
        raw[homes[key]][key] = value
    return raw


def _number(metric: Any) -> float:
    with suppress(TypeError, ValueError, OverflowError, RuntimeError):
        if math.isfinite(number := float(getattr(metric, "item", lambda: metric)())):
            return number
    raise InputError(f"practice.step got a metric that is not a number, {metric!r}: has the training diverged?")


# any model


@contextmanager
def model_logits(model: Any, preprocess: Callable[[Any], Any] | None, config: DrawingConfig) -> Iterator[Logits | None]:
    """The logits of a model in evaluation mode, independent of the caller's modes, contexts and random state.

    All of these are restored afterwards.
    """
    model = unwrap_model(model) if isinstance(model, nn.Module) else model
    with seeded_default_modes(config.seed), ExitStack() as at_end:
        if isinstance(model, nn.Module) and (own := vars(model).get("_original_forward")):
            # accelerate's mixed precision has replaced it.
            at_end.callback(setattr, model, "forward", model.forward)
            model.forward = own
        if isinstance(model, nn.Module):
            # BatchNorm's statistics differ between processes, and so do weights that only the main one averages.
            for tensor, before in distributed.copy_from_main([*model.parameters(), *model.buffers()]):
                at_end.callback(tensor.data.copy_, before)
            at_end.enter_context(unchanged([each for each in model.buffers() if not nn.parameter.is_lazy(each)]))
        yield None if model is None else logits_function(model, resolve_preprocess(model, preprocess, config), config)


@contextmanager
def unchanged(buffers: Sequence[Tensor]) -> Iterator[None]:
    """Put back what the block changes: observers of quantisation observe in evaluation mode, too."""
    before = [each.detach().clone() for each in buffers]
    try:
        yield
    finally:
        pairs = [pair for pair in zip(buffers, before, strict=True) if pair[0].shape == pair[1].shape]  # not the lazy
        changed = [(each, own) for each, own in pairs if not torch.equal(each, own)]
        for each, own in changed:
            each.data.copy_(own)
    if changed:
        warn_once(
            f"{len(changed)} buffers of the model change at a call in evaluation mode, and were put back: one that was "
            "exported in training mode should be exported in evaluation mode"
        )


def unwrap_model(model: nn.Module) -> nn.Module:
    """A model without weight averaging's, DDP's and torch.compile's wrapper. InputError if its weights are sharded."""
    averaged: Any = model.module if type(model).__name__ in AVERAGING else model
    inner = extract_model_from_parallel(averaged, keep_torch_compile=False)
    kinds = {type(part).__name__ for part in (*model.modules(), *model.parameters())}
    if any("FSDP" in kind or kind in ("FullyShardedDataParallel", "DTensor") for kind in kinds):
        raise InputError(
            "the model is sharded (FSDP, DTensor), and processes draw different rows: give one with its full state_dict"
        )
    return inner


def resolve_preprocess(model: Any, preprocess: Any, config: DrawingConfig) -> Callable[[Any], Any] | None:
    """`preprocess`, or of images what it says if it is a processor, or else the model's own (see preprocess_of)."""
    shape = config.task.sample_shape
    if preprocess is None and not (isinstance(model, nn.Module) and len(shape) == 3):
        return None
    from dp_real.learners.models.preprocess import is_processor, preprocess_of

    return preprocess_of(model, preprocess, shape[-1]) if preprocess is None or is_processor(preprocess) else preprocess


def logits_function(model: Any, preprocess: Callable[[Any], Any] | None, config: DrawingConfig) -> Logits:
    """A model's logits of samples, which are preprocessed and moved to its device."""
    check_order(model, config.task.classes)
    classes = config.task.n_classes
    weights = model.parameters() if isinstance(model, nn.Module) else []
    weight = next((each for each in weights if each.is_floating_point()), None)
    if hasattr(preprocess, "pad_token"):  # a tokenizer
        from dp_real.text.models.sequence_classifier import tokenizer_options

        tokenizer: Any = preprocess
        preprocess = partial(tokenizer, **tokenizer_options(model, tokenizer.model_max_length))

    gave_probabilities: list[bool] = []  # whether the first answers were probabilities

    def at_model(value: Any) -> Any:
        if weight is None or not isinstance(value, Tensor):
            return value
        return value.to(weight.device, weight.dtype if value.is_floating_point() else None)

    def answers_of(inputs: Any) -> Tensor:
        inputs = preprocess(inputs) if preprocess else inputs
        if isinstance(inputs, Mapping):
            return as_tensor(model(**{name: at_model(value) for name, value in inputs.items()}))
        return as_tensor(model(at_model(inputs)))

    def logits(x: Tensor) -> Tensor:
        try:
            with eval_mode(model):
                answers = answers_of(
                    texts_of(x) if x.dtype == torch.int32 else x if weight is None else x.to(weight.device)
                )
        except Exception as error:  # any model may raise any error
            if distributed.out_of_memory(error):
                raise
            problem = f"{list(x.shape)}; preprocess= may prepare them: {error}".partition("\n")[0]
            raise InputError(f"the model cannot process samples {problem}") from error
        if tuple(answers.shape) != (len(x), classes):
            raise InputError(
                f"the model gave {list(answers.shape)} for {len(x)} samples of {classes} classes: should be logits "
                f"{[len(x), classes]}"
            )
        answers = answers.float()
        gave_probabilities or gave_probabilities.append(are_probabilities(answers))
        return answers.clamp_min(TINY).log() if gave_probabilities[0] else answers

    return logits


def as_tensor(answers: Any) -> Tensor:
    """The logits or probabilities that a model answers with."""
    answers = logits_of(answers)
    if isinstance(answers, tuple | Mapping):
        raise TypeError(f"it gave a {type(answers).__name__}, should give logits, alone or by this name")
    return answers if isinstance(answers, Tensor) else torch.as_tensor(np.array(answers, float))


def check_order(model: Any, names: Sequence[str]) -> None:
    """Raise InputError if a model of transformers or scikit-learn has these classes in another order."""
    of_method = getattr(model, "__self__", model)
    own = getattr(getattr(model, "config", None), "id2label", None) or getattr(of_method, "classes_", ())
    own = (
        [own[label] for label in sorted(own, key=lambda each: (len(str(each)), each))]
        if isinstance(own, Mapping)
        else [*own]
    )
    if all(isinstance(name, str) for name in own):
        spelt = [[name.casefold() for name in each] for each in (own, names)]
        if spelt[0] != spelt[1] and sorted(spelt[0]) == sorted(spelt[1]):
            raise InputError(f"the model's classes are {', '.join(own)}: Practice should have them in this order")


def are_probabilities(answers: Tensor) -> bool:
    """Whether all rows are probabilities, such as predict_proba's, perhaps rounded."""
    answers = answers.detach()
    return bool((answers >= 0).all() and ((answers.sum(1) - 1).abs() < ROUNDED).all())


def weights_values(model: Any) -> Any:
    """A module's state, or another model."""
    return dict(unwrap_model(model).state_dict()) if isinstance(model, nn.Module) else model


# one writer of a folder

_writers: dict[Path, Any] = {}


def lock_until_gone(practice: Practice, folder: Path) -> Any:
    """Lock the folder while the object exists. Within a process a folder's newest object takes the lock."""
    if release := _writers.pop(folder, None):
        release()
    held, process = ExitStack(), os.getpid()
    held.enter_context(locked(folder))

    def release_here() -> None:
        if os.getpid() == process:  # a forked process has a copy
            held.close()

    _writers[folder] = weakref.finalize(practice, release_here)
    return _writers[folder]
