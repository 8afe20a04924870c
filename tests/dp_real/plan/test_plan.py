"""`dp real plan`: estimates against arithmetic by hand, and what is said to be there or missing."""

import json
import shlex
import tomllib
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from dp_experiments.presets.presets import load_preset
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file
from torch import nn

from dp_real.config import parse_config
from dp_real.data.stand_in import StandInConfig
from dp_real.generators.diffusers import PipelineSize, known_size, published
from dp_real.generators.models.stable_diffusion import make_pipeline
from dp_real.guidance.entropy import EntropyGuidance
from dp_real.plan import forecast, needs
from dp_real.runs.prepare import fresh_learner, load_generator
from dp_real.runtime.computing import count
from dp_real.runtime.model_folders import download_command
from dp_real.runtime.seeds import row_seeds
from dp_real.text.language_models import CausalLMConfig
from tests.commands import done, refused, told
from tests.dp_real.conftest import changed
from tests.dp_real.generators.tiny_pipelines import save_vit
from tests.dp_real.plan.published import PUBLISHED, cost_of, counted
from tests.dp_real.text.made import language_model

GPU = needs.Device("NVIDIA H100 80GB HBM3", 8, 80 * 10**9)


@pytest.fixture(autouse=True)
def hub_check(patch):
    """What asks the hub for a model; there is no network, unless a test says otherwise."""
    asking = Mock(side_effect=ConnectionError)
    patch("huggingface_hub.auth_check", asking)
    return asking


MINE = parse_config(
    tomllib.loads("""
name = "mine"
data = { source = "folder", classes = ["cat", "dog"], validation = "nowhere", size = 8 }
generator = { kind = "diffusers", model = "stable-diffusion-v1-5/stable-diffusion-v1-5", dtype = "bfloat16" }
sampling = { steps = 30, guidance_scale = 4.0 }
guidance = { omega = 0.05, every = 5 }
learner = { kind = "mlp", hidden = [10] }
training = { steps = 1000, batch_size = 32, ema_decay = 0.9 }
pool = { storage = "uint8" }

[practice]
initial = 100
increment = 50
additions = 3
patience = 2
patience_growth = 1.0
evaluate_every = 20
""")
)
"""Stable Diffusion 1.5 for a perceptron on 8 x 8 images of two classes."""


config = partial(changed, MINE)


# Of a row through 192 -> 10 -> 2: products forward, and back to all weights, but not to the image.
MLP = forecast.Network(192 * 10 + 10 + 10 * 2 + 2, (2 * 1940 + 2 * 1940 + 2 * 20) / 1e12)


def test_the_learner_is_counted(patch):
    counted = forecast.learner_network(config())
    assert counted.parameters == MLP.parameters
    assert counted.training == pytest.approx(MLP.training)
    assert forecast.learner_network(load_preset("gaussian")) == forecast.UNKNOWN
    counts = forecast.Network(386 + 4, 2 * 2 * 384 / 1e12)
    for last, own in ((nn.ReLU(), counts), (nn.Softmax(5), forecast.UNKNOWN)):
        layers = nn.Flatten, partial(nn.Linear, 192, 2), partial(nn.BatchNorm1d, 2), lambda last=last: last
        patch(
            "dp_real.learners.MLPConfig.network", lambda *_, layers=layers: nn.Sequential(*(each() for each in layers))
        )
        assert forecast.learner_network(config()) == own
    vit = forecast.learner_network(load_preset("imagenet100"))
    assert vit.parameters == 85_798_656 + 768 * 100 + 100  # ViT-B/16 without its head, as published
    assert vit.training == pytest.approx(3 * 2 * 17.56e9 / 1e12, rel=0.01)  # 17.56 G multiplications forward


def test_an_existing_learner_is_counted_where_it_is_here(tmp_path):
    save_vit(tmp_path / "vit")
    there, absent = (config(f"learner={{kind='transformers', model='{tmp_path}/{name}'}}") for name in ("vit", "none"))
    learner, network = fresh_learner(there), forecast.learner_network(there)
    assert network.training * 1e12 == pytest.approx(learner.row_flops((3, 8, 8)))
    assert network.parameters == sum(weight.numel() for weight in learner.parameters)
    assert forecast.learner_network(absent) == forecast.UNKNOWN


def test_what_a_run_makes():
    pruned = "guidance.omega=0 practice.oversample=5"
    for settings, images in {
        "": (100, 150),
        "guidance.omega=0": (250, 0),
        "practice.real=30 data.train=nowhere": (70, 150),
        pruned: (100 + 750, 0),
    }.items():
        assert forecast.images(config(*settings.split())) == images
    for growth, evaluations in ((1, 2 + 3 + 4), (0, 6)):  # T_max at 100, 150, 200 rows
        assert forecast.waiting_steps(config(f"practice.patience_growth={growth}")) == 20 * evaluations
    for part, settings, size in (
        ("pool", "", 250 * 3 * 8 * 8),
        ("pool", "pool.storage=float32", 4 * 250 * 192),
        ("pool", "data.real_per_class=7", (100 + 150 + 2 * 4) * 192),  # half of them become a loop's validation set
        ("pool", "data.real_per_class=7 practice.additions=0", (100 + 2 * 7) * 192),
        ("drawing", "", 0),  # blocks become the pool's files, unless something is left out
        ("drawing", "pool.marks=marks.csv", 100 * 192),
        ("drawing", pruned, 5 * 50 * 192),
        ("checkpoints", "", 4 * 4 * 4 * MLP.parameters),  # 4 of them, of 4 float32 a parameter
        ("checkpoints", "training.ema_decay=0", 4 * 4 * 3 * MLP.parameters),
    ):
        assert forecast.disk(config(*settings.split()), MLP)[part] == size
    photographs = forecast.disk(load_preset("imagenet100"), forecast.UNKNOWN)["pool"]
    assert photographs == pytest.approx(160_000 * 370_000, rel=0.01)


def operations(asked, network=MLP):
    """TFLOP of a plain and of a guided image, by the seconds of a device that does one a second."""
    seconds = forecast.assumed(asked, network, "one", cores=round(1 / forecast.CPU_CORE))
    return seconds.plain, seconds.guided


def test_operations_of_an_image():
    """There are 30 steps of two evaluations. Six of them are guided: 0, 5, ..., 25."""
    parts = operations(config())
    assert parts[0] == pytest.approx(60 * 0.803 + 2.515)
    learner = 6 * 2 / 3 * MLP.training
    assert parts[1] == pytest.approx(parts[0] + 6 * (2 * 0.923 + 2.515 + 2.549) + learner)
    cheap = config("guidance.through=x0", "generator.tiny_decoder=madebyollin/taesd")
    plain, guided = operations(cheap)
    assert guided - plain == pytest.approx(6 * 2 * 0.141)
    assert operations(config("sampling.guidance_scale=1.0"))[0] == pytest.approx(30 * 0.803 + 2.515)
    again = operations(config("generator.checkpointing=true"))  # a forward pass more in a guided step
    assert (again[0] - parts[0], again[1] - parts[1]) == pytest.approx((0, 6 * 2 * 0.803))
    assert np.isnan(operations(config("generator.model=some/thing"))).all()
    for decoder, ratio in (((OWN_DECODER,), 1.82), ((), 1.26)):  # the paper's figure, of time, and the preset's
        preset = load_preset("imagenet100", decoder)
        plain, guided = operations(preset, forecast.learner_network(preset))
        assert guided / plain == pytest.approx(ratio, abs=0.02)


def test_what_is_predicted_of_a_run_is_what_it_counts(tmp_path, patch):
    """Of a tiny Stable Diffusion whose parts are counted alone, and of the learner that guides it."""
    make_pipeline(32, ["cat", "dog"]).save_pretrained(tmp_path / "tiny")
    small = {"model": f"{tmp_path}/tiny", "dtype": "float32", "prompts": ["{}"]}
    mine = config("sampling.steps=4", "sampling.block_size=1", "guidance.every=2", generator=small)
    generator = load_generator(mine)
    pipe = generator.pipe
    text = torch.zeros(1, pipe.tokenizer.model_max_length, pipe.unet.config["cross_attention_dim"])
    parts = {
        "denoiser": lambda x: pipe.unet(x, torch.zeros(()), text.expand(len(x), -1, -1), return_dict=False)[0],
        "decoder": lambda x: pipe.vae.decode(x, return_dict=False)[0],
    }
    costs = {name: cost_of(part, generator.latent_shape) for name, part in parts.items()}
    size = PipelineSize(**costs, tiny=None, side=32, config={}, models=[])
    patch("dp_real.generators.diffusers.known_size", lambda model: size)
    learner = fresh_learner(mine)
    guidance = EntropyGuidance.from_config(mine.guidance, learner.logits, 0.05)
    one = torch.zeros(1, dtype=torch.int64), row_seeds(0, 0, [0])
    generator.sample(*one, None)  # encodes the prompt
    found = [count(partial(generator.sample, *one, each)) for each in (None, guidance)]
    assert [flops / 1e12 for flops in found] == pytest.approx(operations(mine), rel=1e-3)
    network = forecast.learner_network(mine)
    assert learner.row_flops((3, 8, 8)) / 1e12 == pytest.approx(network.training)


def test_seconds_and_hours():
    mine = config("training.precision=bfloat16")
    seconds = forecast.assumed(mine, MLP, "NVIDIA A100-SXM4-80GB")
    assert seconds.plain == pytest.approx((60 * 0.803 + 2.515) / 78)
    assert seconds.row == pytest.approx(MLP.training / 46.8)
    assert seconds.source.endswith("of its peak of 312 TFLOP/s 25% in drawing, 15% in training")
    in_float32, unknown = (forecast.assumed(config(), MLP, device) for device in ("NVIDIA A100", "an abacus"))
    assert in_float32.row == pytest.approx(5 * seconds.row)
    assert in_float32.source.endswith("25% in drawing, 3% in training")
    assert np.isnan(unknown.plain)
    assert unknown.source == "the rate of an abacus is unknown: measure it"
    assert forecast.assumed(mine, MLP, "CPU", cores=4).row == pytest.approx(MLP.training / 0.2)

    found = forecast.hours(mine, forecast.Seconds(36.0, 72.0, 0.9, "given", spread=2), 8, validation=60)
    clock = (4 + 8 + 0.25) / 8
    expected = {
        "drawing": (100 * 36 + 150 * 72) / 3600,
        "training": 1000 * 32 * 0.9 / 3600,
        "validating": 50 * 60 * 0.3 / 3600,
        "clock": clock,
        "low": clock / 2,
        "high": clock * 2,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    unknown = forecast.hours(mine, forecast.Seconds(np.nan, np.nan, 0.9, "given"), 1)
    assert np.isnan([unknown["drawing"], unknown["validating"], unknown["clock"]]).all()


def test_imagenet100_takes_thirty_two_hours_of_an_h100(here):
    """Those of validation are known without its images."""
    paper = load_preset("imagenet100")
    network = forecast.learner_network(paper)
    (found,) = forecast.costs(paper, network, forecast.assumed(paper, network, "H100"), [1])["hours"]
    hours = {"drawing": 11.1, "training": 20.2, "validating": 1, "clock": 32, "low": 13, "high": 81}
    assert found == pytest.approx({"devices": 1} | hours, rel=0.04)
    assert forecast.validation_size(load_preset("imagenet1k")) == 50_000


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_pipelines_are_as_counted(name):
    known, found = published()[name], counted(name)
    for part in ("denoiser", "decoder", "tiny"):
        cost = getattr(known, part)
        assert (cost is None) == (part not in found)
        if cost:
            assert cost == pytest.approx(found[part], abs=2e-3)


def test_other_pipelines_are_priced(tmp_path):
    """They are known by hub id or by the folder that save_pretrained wrote. Another size is priced by its pixels."""
    flux = operations(config("generator.model=black-forest-labs/FLUX.1-dev"))
    assert flux[0] == pytest.approx(60 * 74.385 + 10.472)
    assert flux[1] - flux[0] == pytest.approx(6 * (10.472 + 11.022 + 2 * 89.209))
    half = operations(config("generator.model=black-forest-labs/FLUX.1-dev", "generator.size=512"))
    assert half == pytest.approx((flux[0] / 4, flux[1] / 4))
    sana = {"model": "Efficient-Large-Model/Sana_1600M_1024px_diffusers", "tiny_decoder": "a/b"}
    assert np.isnan(operations(config(generator=sana))).all()  # there is no such decoder
    (tmp_path / "transformer").mkdir()
    for each in (size for size in published().values() if "cross_attention_dim" not in size.config):
        (tmp_path / "transformer/config.json").write_text(json.dumps({"dropout": 0.0} | each.config))
        assert known_size(str(tmp_path)) is each
    (tmp_path / "transformer/config.json").write_text('{"num_layers": 3}')
    assert known_size(str(tmp_path)) is None


def test_a_language_model_is_priced_in_a_folder_and_in_the_hubs_cache(hub):
    section = CausalLMConfig(kind="causal-lm", model="org/lm")
    assert section.image_cost(None, None) is None
    cache = hub.parents[2] / "models--org--lm"
    folder = language_model(cache / "snapshots" / hub.name)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(hub.name)
    of_folder = CausalLMConfig(kind="causal-lm", model=str(folder)).image_cost(None, None)
    assert section.image_cost(None, None) == of_folder
    assert of_folder.plain > 0


# what is there


INDEX = """{
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "x"],
    "vae": ["diffusers", "x"],
    "safety_checker": ["stable_diffusion", "x"]
}"""
CPU = needs.Device("CPU, 2 cores", 1, 25 * 10**9, cores=2)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A folder in which imagenet100 finds its data where it looks for them, and weights in `sd`."""
    root = tmp_path_factory.mktemp("disk")
    (root / "data").symlink_to(Path(StandInConfig(source="stand-in", size=8).folders.validation).parents[1])
    for part, own in (
        ("unet", '{"cross_attention_dim": 768, "sample_size": 64, "layers_per_block": 2}'),
        ("vae", "{}"),
    ):
        (root / "sd" / part).mkdir(parents=True)
        (root / "sd" / part / "config.json").write_text(own)
        (root / "sd" / part / "model.safetensors").touch()
    (root / "sd/model_index.json").write_text(INDEX)
    return root


READ = needs._read


@pytest.fixture
def machine(disk, monkeypatch, patch):
    """A machine that has all that imagenet100 needs, but for what is in the files of `sd`."""
    monkeypatch.chdir(disk)
    patch("dp_real.plan.needs._read", lambda config, key, folder: key == "generator.model" or READ(config, key, folder))
    patch("dp_real.plan.needs.this_device", lambda: GPU)
    patch("shutil.disk_usage", lambda folder: SimpleNamespace(free=10**12))


def plan(*settings, status=0, options=""):
    """What `dp real plan imagenet100` answers, which is not ready if it ends with status 3."""
    words = [f"--set {shlex.quote(setting)}" for setting in (OWN_DECODER, *settings)]
    return told("real plan imagenet100", options, *words, status=status)


def problems(answer):
    return {need["what"]: need["problem"] for need in answer["needs"] if need["problem"]}


def found(answer, what):
    (told,) = (need["found"] for need in answer["needs"] if need["what"] == what)
    return told


OWN = "generator.model=sd"
OWN_DECODER = "generator.tiny_decoder=none"


def test_the_files_to_fetch_are_those_that_are_used():
    """Of a published listing, one file of each part is fetched, and no copies for other libraries and dtypes."""
    used = {
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/merges.txt",
        "text_encoder_3/model-00001-of-00002.safetensors",
    }
    others = {
        "v1-5-pruned-emaonly.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/model.onnx",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "safety_checker/model.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "text_encoder_3/model.fp16-00001-of-00002.safetensors",
    }
    words = shlex.split(download_command("an/id"))
    assert words[:3] == ["hf", "download", "an/id"]
    include, exclude = (
        [word for before, word in pairwise(words) if before == option] for option in ("--include", "--exclude")
    )
    assert set(filter_repo_objects(used | others, allow_patterns=include, ignore_patterns=exclude)) == used


def test_a_complete_machine(machine):
    answer = plan(OWN)
    assert not problems(answer)
    assert found(answer, "device") == "8 × NVIDIA H100 80GB HBM3"
    assert found(answer, "data: imagenet-a") == "data/imagenet-a: 15 images"
    assert answer["images"] == {"plain": 32_000, "guided": 128_000}
    assert answer["rows_per_step"] == 2048


@pytest.mark.parametrize(
    "settings",
    [
        {
            "generator.model=no/one": ("generator.model", "or --set generator.model=FOLDER"),
            "data.test=data/none": ("data: test", "data/none: no such folder"),
            "training.batch_size=1000000": None,  # in pieces
            "pool.storage=float32": None,
            "practice.initial=900000000": ("disk", "name another --out"),
            "tracker=wandb": ("package", "pip install 'deliberate-practice[track]' wandb"),
        },
        {
            "generator.model=sd/vae/model.safetensors": ("generator.model", "is neither a folder nor in the"),
            "learner={kind='transformers', model='nobody/knows'}": ("learner.model", "--set learner.model=FOLDER"),
            "generator.tiny_decoder=data": (
                "generator.tiny_decoder",
                "no AutoencoderTiny could be read: the folder must",
            ),
        },
    ],
)
def test_what_is_missing_is_named(machine, settings):
    missing, expected = problems(plan(*settings, status=3)), dict(filter(None, settings.values()))
    assert set(missing) == set(expected)
    for what, words in expected.items():
        assert words in missing[what]


def test_a_plan_refuses_guidance_that_the_pipeline_cannot_do(machine, patch):
    index = {"_class_name": "PixArtSigmaPipeline"}
    patch("dp_real.generators.pipelines.loading.load_index", lambda model: index)
    assert "guidance.through = 'x0'" in refused("real plan imagenet100 --set", OWN)


def test_a_plan_for_a_gpu_elsewhere(machine, patch):
    """A CPU would take too long, also if only the hours of training are known."""
    patch("dp_real.plan.needs.this_device", lambda: CPU)
    answer = plan(OWN, options="--device l40s")
    assert found(answer, "device") == "L40S, elsewhere"
    assert [row["devices"] for row in answer["hours"]] == [1, 8, 32]
    assert answer["seconds"]["guided"] > 62.55 / forecast.GPUS["L40S"] / 0.25
    for known in (published()["SD1"], None):
        patch("dp_real.generators.diffusers.known_size", lambda _, known=known: known)
        answer = plan(OWN, status=3)
        assert list(problems(answer)) == ["device"]
        assert "no GPU: it would take this CPU, 2 cores," in problems(answer)["device"]
        assert "assumed of H100" in answer["seconds"]["source"]


def test_a_plan_reads_weights_as_a_run_does(tmp_path):
    """Its names and shapes, and the tokens of prompts."""
    folder, learner = tmp_path / "sd", tmp_path / "vit"
    make_pipeline(32, ["a photo of a 7"]).save_pretrained(folder)
    save_vit(learner)
    parts = (("generator", "diffusers", folder), ("learner", "transformers", learner))
    asked = ["digits", *(f"--set \"{part}={{kind='{kind}', model='{place}'}}\"" for part, kind, place in parts)]
    done("real plan", *asked)
    longer = "--set 'generator.prompts=[\"a photo of one {}\"]'"
    assert "of two classes are the same in the first 12 tokens" in refused("real plan", *asked, longer)
    unet = folder / "unet/diffusion_pytorch_model.safetensors"
    save_file({f"module.{name}": value for name, value in load_file(unet).items()}, unet)
    for command in ("plan", "run"):
        assert "of UNet2DConditionModel's weights are missing" in refused("real", command, *asked)


def test_weights_that_the_hub_has_are_not_missing(machine, hub_check):
    hub_check.side_effect = None
    assert "which a run will fetch" in found(plan(), "generator.model")
    hub_check.assert_called_once_with("stable-diffusion-v1-5/stable-diffusion-v1-5")
    hub_check.side_effect = RepositoryNotFoundError("404", response=Mock())
    assert "check the name, or accept its terms" in problems(plan(status=3))["generator.model"]


def test_a_run_says_the_same_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dp_real.plan.needs.this_device", lambda: needs.Device("CPU, 2 cores", 1, 10**12, cores=2))
    answer = done("real plan imagenet100-table4-12", status=3)
    assert all(name in answer.out for name in ("no GPU", "data/imagenet/val: no such", "data/imagenet-a: no such"))
    assert "assumed of H100" in answer.err
    answer = done("real run imagenet100-table4-12", status=3)
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 6  # a line for each thing that is missing, with its remedy
    for said in ("no GPU: ", "; --device plans for a GPU elsewhere", "hf download stable-diffusion-v1-5"):
        assert said in answer.err
    assert "data/imagenet/train: no such folder; put images there" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_cpu_does_for_small_runs():
    quick = "real plan digits --set generator.training=none"
    answer = told(quick, "--measure")
    assert answer["needs"][0]["found"].endswith("no GPU")
    assert answer["seconds"]["source"].startswith("measured on CPU")
    assert 0 < answer["seconds"]["plain"] < answer["seconds"]["guided"]
    steps = load_preset("digits").training.steps
    assert answer["hours"][0]["training"] == pytest.approx(steps * 64 * answer["seconds"]["row"] / 3600)
    answer = done(quick)
    assert answer.out.splitlines()[0].split("\t") == ["what", "found", "problem"]
    assert "100 plain and 900 guided samples, 4,000 steps" in answer.err


def test_data_alone_are_left_to_whoever_reads_them(machine):
    """If only data are missing, a run is not refused. They may be fetched, and their reader says what is wrong."""
    needs.require(load_preset("imagenet100", [OWN, OWN_DECODER, "data.validation=data/none"]), Path("run"))
