"""Reads weights from a folder or the hub: safetensors only, no code of a model, and only named models."""

# diffusers does not pass trust_remote_code on to parts, but uses no Auto class of transformers, which alone runs such
# code.

import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import HTTPError
from safetensors import SafetensorError

from dp_base.errors import InputError, MissingError
from dp_real.runtime import distributed
from dp_real.runtime.model_folders import NAME_REMEDY, WHOLE, download_command, is_hub_id, missing_package

NUMBERS = re.compile(r"\d+")  # of layers, in a weight's name


_device = ContextVar[Any]("device", default=None)  # that weights are loaded to

Fresh = Callable[[Any, str], bool] | None
"""Whether a model's weight of that name may be missing, or of another shape, since it is trained or unused."""


@contextmanager
def headers_only() -> Iterator[None]:
    """Within the block, load models to the meta device: only names and shapes of weights are read."""
    before = _device.set("meta")
    try:
        yield
    finally:
        _device.reset(before)


def load(kind: Any, model: str, dtype: str = "float32", fresh: Fresh = None, **options: Any) -> Any:
    """Load by `kind.from_pretrained`. MissingError if it is missing, InputError if broken."""
    part = options.get("subfolder", "")
    with reading(model, f"{kind.__name__}{part and f' in {part}'}") as is_local, quietly():
        loaded, loading_info = kind.from_pretrained(
            model,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=is_local,
            trust_remote_code=False,
            device_map=_device.get(),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
        require_fitting(loaded, loading_info, str(Path(model, part)), fresh)
        if _device.get():
            return loaded
        _require_finite(loaded, model)
    return loaded.to(distributed.device())


def require_fitting(loaded: Any, loading_info: dict[str, Any], model: str, fresh: Fresh = None) -> None:
    """InputError for weights or layers that were not loaded, by a library's `output_loading_info`."""
    lost = {*loading_info["missing_keys"], *(name for name, *_ in loading_info["mismatched_keys"])}
    lost = sorted(
        name for name in lost if not (name.endswith("num_batches_tracked") or (fresh and fresh(loaded, name)))
    )
    if lost:
        unknown = f"; unknown to it: {others[0]!r}" if (others := sorted(loading_info["unexpected_keys"])) else ""
        raise InputError(
            f"{model}: {len(lost)} of {type(loaded).__name__}'s weights are missing, or have other shapes than its "
            f"config says, such as {lost[0]!r}{unknown}"
        )
    places = {NUMBERS.sub("#", name) for name in loaded.state_dict()}
    left = sorted(
        name for name in loading_info["unexpected_keys"] if NUMBERS.search(name) and NUMBERS.sub("#", name) in places
    )
    if left:
        raise InputError(
            f"{model}: {len(left)} weights, such as {left[0]!r}, are of further layers than its config says: mend it"
        )


def load_tokenizer(model: str, side: Literal["left", "right"]) -> Any:
    """A tokenizer that pads on `side`. If it has no padding token, its end token is used, and masked."""
    from transformers import AutoTokenizer

    with reading(model, "a tokenizer") as local, quietly():
        tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=local, trust_remote_code=False)
        require_words(tokenizer, model)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            where = Path(model, "tokenizer_config.json") if Path(model).is_dir() else f"{model}'s tokenizer_config.json"
            raise InputError(f"{where}: it has neither a padding nor an end token; give it a pad_token")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = side
    return tokenizer


def require_words(tokenizer: Any, model: str) -> None:
    """MissingError for a tokenizer without words: transformers makes one if files are missing."""
    if len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) < 2:
        problem = "its tokenizer knows no words: files that save_pretrained writes of it are missing"
        raise MissingError(f"{model}: {problem}")


def require_distinct_prompts(prompts_of_class: Sequence[Sequence[str]], readers: Sequence[tuple[Any, int]]) -> None:
    """InputError if prompts of two classes are equal in the tokens that are used. Logs which are cut.

    `readers` are tokenizers, each with the number of tokens that its model uses.
    """
    first: dict[Any, tuple[int, str]] = {}
    cut: list[str] = []
    longest = max((max_tokens for _, max_tokens in readers), default=0)
    for label, prompts in enumerate(prompts_of_class if readers else ()):
        with quietly():
            tokens = [tokenizer(list(prompts))["input_ids"] for tokenizer, _ in readers]
        for prompt, *read in zip(prompts, *tokens, strict=True):
            parts = [(ids, max_tokens) for ids, (_, max_tokens) in zip(read, readers, strict=True)]
            other, same = first.setdefault(
                tuple(tuple(ids[: max_tokens - 1]) for ids, max_tokens in parts), (label, prompt)
            )
            if other != label and same != prompt:
                raise InputError(
                    f"the prompts {same!r} and {prompt!r} of two classes are the same in the first {longest} tokens, "
                    "all that is read of them: shorten them, or put what distinguishes the classes first"
                )
            if all(len(ids) > max_tokens for ids, max_tokens in parts):
                cut.append(prompt)
    if cut and distributed.this_process().is_main_process:
        text = "prompts of more than the %d tokens that are read are cut: %d, such as %r"
        logging.getLogger(__name__).warning(text, longest, len(cut), cut[0])


def _require_finite(loaded: Any, model: str) -> None:
    for name, weight in loaded.named_parameters():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise InputError(f"{model}: {name} of {type(loaded).__name__} is not finite")


@contextmanager
def reading(model: str, what: str, remedy: str = NAME_REMEDY) -> Iterator[bool]:
    """Turn errors of reading a model into MissingError or InputError. Yields whether it is a folder."""
    is_local = Path(model).is_dir()
    if not is_local and not is_hub_id(model):
        raise MissingError(f"{model}: no such folder; {remedy}")
    problem = f"{model}: no {what.removeprefix('a ')} could be read"
    try:
        yield is_local
    except (InputError, MissingError, torch.OutOfMemoryError):
        raise
    except ImportError as error:  # only some models need the package, such as timm
        raise MissingError(f"{model}: {missing_package(error)}") from error
    except (OSError, HTTPError, SafetensorError, json.JSONDecodeError) as error:
        if is_local:
            remedy = f"the folder {WHOLE}"
        else:
            command = download_command(model)
            remedy = f"fetch it with a network ({command}), or name a folder that holds it"
        cause = str(error).strip().partition("\n")[0]
        raise MissingError(f"{problem}: {remedy}: {cause}") from error
    except Exception as error:  # the type depends on where the folder is broken
        if "trust_remote_code" in str(error) or "remote code" in str(error):  # a library advises to run the code
            raise InputError(
                f"{model}: it needs its own code (auto_map, or a module in its folder), and such code is never "
                "run here; name a model whose classes transformers or diffusers has"
            ) from error
        cause = " ".join(str(error).split())[:200]
        raise InputError(f"{problem}: {type(error).__name__}: {cause}") from error


def save(model: Any, folder: Path, **options: Any) -> None:
    """Save by save_pretrained, without its progress bar."""
    with quietly():
        model.save_pretrained(folder, **options)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep diffusers and transformers from printing, except for progress bars of downloads."""
    from diffusers.utils import logging as of_diffusers  # imported here, as it takes long and reading runs needs none
    from transformers.utils import logging as of_transformers

    libraries: tuple[Any, ...] = (of_diffusers, of_transformers)
    with ExitStack() as at_end:
        for library in libraries:
            at_end.callback(library.set_verbosity, library.get_verbosity())
            if library.is_progress_bar_enabled():
                at_end.callback(library.enable_progress_bar)
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
