"""A device in name only, so that it can be checked without a GPU what is where, and when a GPU would be waited for.

Tensors on it have shapes and types, but no values (torch's FakeTensor). Tensors on the CPU are as ever. An operation on
tensors of both devices fails as on a GPU. What is copied to the CPU is zeros there, and a value that is read is 1.
"""

import traceback
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import dp_real

SET_UP = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)  # in newer torch
NAME = "nowhere"
OURS = str(Path(dp_real.__file__).parent)
READ = "aten._local_scalar_dense"
OF_VALUES = (READ, "aten.nonzero", "aten.masked_select", "aten._unique2", "aten.equal", "aten.is_nonzero")


class _NoValues(FakeTensorMode):
    avoid_device_init: Any = True  # else it would really copy


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device=None):
        return torch.zeros(1)

    def set_rng_state(self, state, device=None):
        pass


class FakeDevice(TorchDispatchMode):
    """Carries out operations on `device`. waits: those for which the host would wait, and our line that asked for each.

    The host waits where it reads a value or copies to the CPU, and where it copies from the CPU without non_blocking.
    """

    def __init__(self):
        super().__init__()
        self.device = torch.device(NAME, 0)
        self.waits = []
        self._fake = _NoValues(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        options = dict(kwargs or {})
        name = str(func).rpartition(".")[0]
        tensors = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        target = options.get("device")
        if not any(isinstance(tensor, FakeTensor) for tensor in tensors) and _kind(target) != NAME:
            return func(*args, **options)
        if name in OF_VALUES:
            self._note(name)
        if name == READ:
            return 1
        if name in ("aten._to_copy", "aten.copy_"):
            begin = tensors[-1].device.type
            end = _kind(target) or tensors[0].device.type
            blocks = not (options.get("non_blocking") or args[2:] == (True,))
            if begin != end and (blocks or end == "cpu"):
                self._note(f"{name} {begin} -> {end} {list(tensors[-1].shape)}")
        if name == "aten.copy_" and not isinstance(args[0], FakeTensor):
            return args[0].zero_()
        with self._fake:
            result = func(*args, **options)
        return tree_map_only(FakeTensor, _with_values, result)

    def _note(self, what):
        ours = [frame for frame in traceback.extract_stack() if frame.filename.startswith(OURS)]
        self.waits.append(f"{what}, {ours[-1].filename.removeprefix(OURS)}:{ours[-1].lineno}" if ours else what)


def _kind(device):
    return "" if device is None else torch.device(device).type


def _with_values(result):
    """Return a result on the CPU with values."""
    return torch.zeros(result.shape, dtype=result.dtype) if result.device.type == "cpu" else result


@cache
def set_up():
    """Make the device known to torch, before this process's first backward pass: it starts a thread for each then."""
    SET_UP(NAME, _Backend())
    # Autocast does nothing on the device: the precisions of its operations are not what is checked.
    autocast = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    autocast.fallback(torch.library.fallthrough_kernel)
    _kept.append(autocast)


_kept = []


@contextmanager
def fake_device():
    """Within the block, the device is there. See `set_up`."""
    set_up()
    with FakeDevice() as device:
        yield device
