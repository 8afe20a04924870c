"""`dp doctor`: what it says of a machine, of folders, intact and damaged, and of the cache."""

import re
import shutil
from importlib import metadata
from unittest import mock

import torch
from dp_experiments.cli import doctor

from dp_real.plan.needs import Device
from dp_real.runtime.cache import cache_folder, cached
from dp_real.text.models.answers import Answer, Answers
from tests.commands import done, told


def test_a_machine_that_has_everything(patch):
    true = metadata.version
    vendors = {"torch": "2.6.0a0+nv25.01", "pandas": "2.2.dev0"}
    patch(metadata, "version", lambda name: vendors.get(name) or true(name))
    answer = told("doctor")
    found = {finding["what"]: finding["found"] for finding in answer["findings"]}
    assert answer["healthy"]
    assert {"python", "torch", "device", "disk: here", "disk: cache", "cache"} <= set(found)
    assert "GB free" in found["disk: here"]
    assert re.match(r"\d+ [kM]B in /", found["cache"])


def test_what_is_missing_is_named_with_the_way_to_get_it(patch):
    true = metadata.version

    def version(name):
        if name == "diffusers":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name in ("scipy", "openai", "transformers") else true(name)

    patch(metadata, "version", version)
    patch(doctor.shutil, "disk_usage", lambda path: mock.Mock(free=10**6))
    err = done("doctor", status=3).err
    assert re.search(r"dp real: it needs diffusers>=.*, transformers>=.*: pip install '.*\[real\]'", err)
    assert re.search(r"dp real needs diffusers>=.* and 1 more: pip", done("real keys", status=3).err)
    assert "scipy: 0.1 is too old: pip install 'scipy>=" in err
    assert "is nearly full" in err


def test_what_is_said_of_a_gpu(patch):
    ones = torch.ones
    machine = {
        "dp_real.plan.needs.this_device": lambda: Device("H100", 2, 80 * 10**9),
        "dp_real.runtime.distributed.own_cores": lambda: 16,
        "torch._C._cuda_getDriverVersion": lambda: 12080,
        "torch.version.cuda": "12.6",
        "torch.distributed.is_nccl_available": lambda: True,
        "torch.cuda.is_bf16_supported": lambda: True,
        "torch.ones": lambda *size, device, dtype: ones(*size, dtype=dtype),
    }
    for name, value in machine.items():
        patch(name, value, raising=False)
    said = done("doctor").out
    assert "torch is built for 12.6, the driver for 12.8" in said
    assert "bfloat16\tworks" in said
    patch("torch.distributed.is_nccl_available", lambda: False)
    patch("torch.cuda.is_bf16_supported", lambda: False)
    said = done("doctor", status=3).err
    assert "nccl: several GPUs cannot share a run" in said
    assert "bfloat16: keep dtypes at float32" in said
    broken = RuntimeError("CUDA error: no kernel image\nCompile with TORCH_USE_CUDA_DSA")
    patch("torch.ones", mock.Mock(side_effect=broken))
    said = done("doctor", status=3).err
    assert "gpu: CUDA error: no kernel image; nvidia-smi may say more" in said


def test_a_folder_intact_and_damaged(guided_run, tmp_path):
    run, _ = (shutil.copytree(guided_run, tmp_path / "all" / name) for name in ("run", "other"))
    assert len(done("doctor", tmp_path / "all").out.splitlines()) == 3
    weights = next((run / "checkpoints").glob("latest-*")) / "learner.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    (finding,) = told("doctor", run, status=2)["findings"]
    assert f"{weights} is damaged" in finding["problem"]
    assert str(run) in finding["problem"].partition("; ")[2]  # the way on


def test_the_cache_and_damaged_answers_in_it(own_cache):
    folder = cached("mine", {}, lambda folder: (folder / "weights").write_bytes(bytes(3 * 10**6)))
    (folder / "removed").symlink_to("nowhere")  # as if another process had removed it while it is listed
    answers = Answers("http://there", "model")
    answers.keep("question", Answer("text", 5))

    def found():
        return next(each["found"] for each in told("doctor")["findings"] if each["what"] == "cache")

    assert found() == f"3 MB in {cache_folder()}"
    answers.file.write_bytes(answers.file.read_bytes() + b"[1]\n")
    assert found().endswith(f"; damaged answers, to be requested again: 1 in {answers.file}")


def test_without_a_home_folder(patch):
    patch("platformdirs.user_cache_dir", mock.Mock(side_effect=RuntimeError("no home")))
    _, out, err = done("doctor", status=3)
    assert "python" in out
    assert "cache: there is no home folder for the cache: set XDG_CACHE_HOME to a folder" in err
