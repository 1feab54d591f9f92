"""The engine: what may not change a result does not, and what cannot be done is refused."""

import numpy as np
import pytest
import torch

from MambaSynthLib.backends import PlacedNetwork, torch_backend
from MambaSynthLib.engine import Engine, Request, slice_noise
from MambaSynthLib.errors import Cancelled, ModelError, RequestError, VolumeError
from MambaSynthLib.image.intensity import Scaling
from MambaSynthLib.image.preparation import prepare
from MambaSynthLib.image.volume import Volume
from MambaSynthLib.io.files import sha256_of
from MambaSynthLib.methods import METHODS
from Testing.restoring import restored


@pytest.fixture(scope="module")
def engine(tiny_package):
    return Engine(tiny_package, "cpu")


@pytest.fixture
def calls(engine, monkeypatch):
    """The batch shapes of all network calls."""
    shapes, network = [], engine._network

    def counting(images):
        shapes.append(images.shape)
        return network(images)

    monkeypatch.setattr(engine, "_network", PlacedNetwork(counting, network.places))
    return shapes


def t2(engine, head, **options):
    return engine.synthesize({"T1w": head}, **options).volumes["T2w"].array


TISSUE = range(1, 9)  # slices of the fixture `head` that hold anything


@pytest.mark.parametrize("batch", [4, 11, 1000])
def test_the_batch_size_does_not_change_the_result(batch, engine, head):
    np.testing.assert_allclose(
        t2(engine, head, batch=batch, steps=4) / 1000, t2(engine, head, batch=1, steps=4) / 1000,
        atol=1e-5,
    )  # fmt: skip


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_image(engine, head):
    first = t2(engine, head, seed=3)
    assert t2(engine, head, seed=3).tobytes() == first.tobytes()
    assert not np.array_equal(t2(engine, head, seed=4), first)


def test_another_engine_for_the_same_package_gives_the_same_bits(engine, head, tiny_package):
    assert t2(Engine(tiny_package, "cpu"), head).tobytes() == t2(engine, head).tobytes()


@pytest.mark.parametrize("slices", [(0, 10), (2, 5), (7, 8), (0, 1), (9, 10)])
def test_some_slices_are_those_of_the_whole_to_the_bit(slices, engine, head):
    first, last = slices
    part, whole = t2(engine, head, slices=slices), t2(engine, head)
    assert np.array_equal(part[:, :, first:last], whole[:, :, first:last])
    assert np.all(part[:, :, :first] == 0) and np.all(part[:, :, last:] == 0)


def test_slices_are_counted_from_the_feet_however_the_file_is_stored(engine, head):
    turned = Volume(head.array[:, :, ::-1], head.affine @ flip_k(head), "upside down")
    part = t2(engine, turned, slices=(2, 5))[:, :, ::-1]
    assert np.array_equal(part, t2(engine, head, slices=(2, 5)))


def flip_k(volume):
    flip = np.diag([1.0, 1, -1, 1])
    flip[2, 3] = volume.shape[2] - 1
    return flip


def test_the_output_has_the_grid_of_the_input_and_the_range_of_the_target(engine, head):
    volume = engine.synthesize({"T1w": head}).volumes["T2w"]
    assert volume.affine.tobytes() == head.affine.tobytes() and volume.shape == head.shape
    assert volume.array.min() >= 0 and volume.array.max() <= 1000
    assert np.all(volume.array[head.array == 0] == 0) and volume.name == "head.nii.gz synthetic T2w"


def test_shared_noise_is_one_draw_and_per_slice_noise_is_many():
    def draw(noise, index):
        return slice_noise(Request(2, 3, 1, noise, None, 1), index, (8, 8))

    assert draw("shared", 0).shape == (3, 2, 8, 8)
    assert np.array_equal(draw("shared", 0), draw("shared", 7))
    assert not np.array_equal(draw("per-slice", 0), draw("per-slice", 7))
    assert np.array_equal(draw("per-slice", 7), draw("per-slice", 7))
    many = slice_noise(Request(4, 64, 1, "shared", None, 1), 0, (32, 32))
    assert abs(many.mean()) < 0.01 and abs(many.std() - 1) < 0.01


def test_shared_noise_gives_equal_slices_equal_results(engine):
    flat = np.zeros((14, 12, 6))
    flat[3:11, 2:10, 1:5] = np.random.default_rng(0).uniform(200, 500, (8, 8, 1))
    same = Volume(flat, np.diag([2.0, 2, 3, 1]), "same slices")
    shared, own = (t2(engine, same, noise=noise) for noise in ("shared", "per-slice"))
    assert np.array_equal(shared[:, :, 1], shared[:, :, 4])
    assert not np.array_equal(own[:, :, 1], own[:, :, 4])


def test_samples_are_averaged_and_their_spread_is_their_deviation(engine, head):
    card = engine.package.card
    preparation = prepare(head, card.grid, card.intensity)
    stack, request = preparation.stack(), Request(2, 3, 9, "per-slice", None, 1)
    draws = np.full((3, *stack.shape), -1, np.float32)
    for n in TISSUE:
        noise = slice_noise(request, n, stack.shape[1:])
        for sample in range(3):
            draws[sample, n] = engine.method.synthesize(
                engine._network, stack[n : n + 1, None], noise[sample][:, None], card.sampling
            )[0, 0, 0]
    synthesis = engine.synthesize({"T1w": head}, samples=3, seed=9, steps=2)
    target = Scaling.of_range(0, 1000)
    mean = restored(preparation, draws.mean(axis=0), target).array
    np.testing.assert_allclose(synthesis.volumes["T2w"].array, mean, atol=0.01)
    spread = np.where(head.array > 0, 500 * restored_stack(preparation, draws.std(axis=0)), 0)
    np.testing.assert_allclose(synthesis.spreads["T2w"].array, spread, atol=0.01)
    assert synthesis.spreads["T2w"].array.max() > 1 and synthesis.spreads["T2w"].array.min() >= 0


def restored_stack(preparation, stack):
    slices = preparation.resampling.undo(preparation.canvas.undo(stack, 0))
    return preparation.reorientation.undo(slices)


def test_one_sample_has_no_spread_and_is_the_first_of_several(engine, head):
    assert engine.synthesize({"T1w": head}, samples=1).spreads == {}
    request = [Request(2, samples, 1, "per-slice", None, 1) for samples in (1, 5)]
    one, five = (slice_noise(r, 3, (8, 8)) for r in request)
    assert np.array_equal(one[0], five[0])


@pytest.mark.parametrize(("steps", "samples"), [(1, 1), (2, 1), (4, 2)])
def test_only_slices_with_tissue_are_computed_once_per_step_and_sample(
    steps, samples, engine, head, calls
):
    t2(engine, head, steps=steps, samples=samples)
    assert len(calls) == len(TISSUE) * steps * samples
    assert set(calls) == {(1, 2, 16, 16)}


def test_the_card_says_how_many_steps_are_made_by_default(engine, head, calls):
    t2(engine, head, batch=100)
    assert calls == [(8, 2, 16, 16)] * 2


def test_a_range_of_empty_slices_computes_nothing(engine, head, calls):
    assert not t2(engine, head, slices=(9, 10)).any() and calls == []


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_progress_starts_at_none_never_falls_and_ends_complete(batch, engine, head):
    seen = []
    t2(engine, head, batch=batch, progress=lambda done, total: seen.append((done, total)))
    done = [d for d, _ in seen]
    assert done == sorted(set(done)) and done[0] == 0 and done[-1] == len(TISSUE)
    assert {total for _, total in seen} == {len(TISSUE)}


@pytest.mark.parametrize("after", [0, 1, 5])
def test_cancelling_stops_before_the_next_network_call(after, engine, head, calls):
    with pytest.raises(Cancelled):
        t2(engine, head, cancelled=lambda: len(calls) >= after)
    assert len(calls) == after


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps is 0.* 1 to 4"),
        ({"steps": -1}, "steps is -1"),
        ({"steps": 5}, "steps is 5"),
        ({"steps": 10**9}, "steps is 1000000000"),
        ({"steps": 2.5}, "steps is 2.5; give a whole number"),
        ({"samples": 0}, "samples is 0"),
        ({"samples": 65}, "samples is 65"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": 1.0}, "seed is 1.0; give a whole number"),
        ({"seed": "1"}, "seed is '1'"),
        ({"noise": "pink"}, "'pink'; give per-slice or shared"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": -3}, "batch is -3"),
        ({"slices": (0, 11)}, r"slices 0:11 are not in head\.nii\.gz, which has 10 slices"),
        ({"slices": (-1, 4)}, "slices -1:4"),
        ({"slices": (5, 5)}, "slices 5:5"),
        ({"slices": (6, 2)}, "slices 6:2"),
        ({"slices": (10, 12)}, "slices 10:12"),
    ],
)
def test_an_impossible_option_is_refused_before_any_computing(options, said, engine, head, calls):
    with pytest.raises(RequestError, match=said):
        t2(engine, head, **options)
    assert calls == []


@pytest.mark.parametrize("given", [[], ["T2w"], ["T1w", "T2w"], ["t1w"]])
def test_other_source_contrasts_are_refused_with_the_models_direction(given, engine, head):
    with pytest.raises(RequestError, match="synthesizes T1w -> T2w, but was given"):
        engine.synthesize(dict.fromkeys(given, head))


def test_an_unusable_volume_is_refused_by_name(engine):
    with pytest.raises(VolumeError, match="^flat: the image is constant"):
        t2(engine, Volume(np.ones((9, 9, 9)), np.eye(4), "flat"))


@pytest.mark.parametrize(
    "device", ["cuda:99", "tpu", "", "cpu:", "cpu:1", "cpu:²", "CPU", "auto:0"]
)
def test_a_device_that_is_not_here_is_refused_with_those_that_are(device, tiny_package):
    with pytest.raises(RequestError, match=f"^device {device}: .*(available: .*cpu|has no CUDA)"):
        Engine(tiny_package, device)


@pytest.mark.parametrize("device", ["cpu", "cpu:0", "auto"])
def test_devices_that_are_here_are_used(device, tiny_package):
    assert Engine(tiny_package, device).device in (device, *torch_backend.available_devices())


def test_running_out_of_memory_is_told_with_a_remedy(tiny_package, head, monkeypatch):
    def greedy(self, images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    from MambaSynthLib.methods.cravim.inference import PreparedCRAViM

    monkeypatch.setattr(PreparedCRAViM, "__call__", greedy)
    with pytest.raises(RequestError, match="memory of cpu is not enough.*--batch 1"):
        t2(Engine(tiny_package, "cpu"), head)


def test_damaged_weights_are_noticed_when_the_engine_is_made(tmp_path, make_package):
    package = make_package(tmp_path / "p")
    path = package.folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelError, match="sha256"):
        Engine(package, "cpu")


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ({"backend": "torch"}, ("torch", "cpu", "fp32")),
        ({"backend": "torch", "precision": "bf16"}, ("torch", "cpu", "bf16")),
        ({"backend": "torch", "precision": "tf32"}, ("torch", "cpu", "fp32")),  # only CUDA has it
        ({"backend": "onnxruntime"}, ("onnxruntime", "cpu", "fp32")),
    ],
)
def test_the_provenance_says_what_computed_and_in_which_precision(
    options, used, tiny_package, head
):
    made = Engine(tiny_package, "cpu", **options).synthesize({"T1w": head}, steps=1).provenance
    assert (made.backend, made.device, made.precision) == used
    assert made.warnings == ()
    assert made.limits == "Lesions that T1w does not show do not appear"
    assert made.sentence().endswith(f"{made.limits}.")


@pytest.mark.parametrize(
    ("wanted", "device", "used"),
    [("tf32", "cuda:0", "tf32"), ("tf32", "mps", "fp32"), ("fp16", "cuda", "fp16")],
)
def test_tf32_is_recorded_where_it_exists(wanted, device, used):
    inference = METHODS["cravim"].part("inference")
    assert torch_backend._precision_used(wanted, device, inference) == used


@pytest.mark.parametrize(("allowed", "used"), [(True, "tf32"), (False, "fp32")])
def test_a_network_without_its_own_inference_computes_as_torch_is_set(allowed, used, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    assert torch_backend._precision_used("fp16", "cuda", None) == used


def test_the_provenance_says_how_the_volume_was_made(engine, head):
    noted = Volume(head.array, head.affine, "a.nii", ("rounded: something",))
    made = engine.synthesize(
        {"T1w": noted}, steps=1, samples=2, seed=11, noise="shared", slices=(2, 4)
    ).provenance
    assert (made.steps, made.samples, made.seed, made.noise, made.slices) == (
        1, 2, 11, "shared", (2, 4),
    )  # fmt: skip
    assert (made.source_contrast, made.target_contrast, made.source_name) == ("T1w", "T2w", "a.nii")
    assert made.package_sha256 == engine.package.sha256
    assert made.weights_sha256 == engine.package.weights_sha256 and made.device == "cpu"
    assert made.source_sha256 == sha256_of(noted) and made.warnings == ("rounded: something",)


def test_a_head_of_one_slice_is_synthesized(engine, head):
    single = Volume(head.array[:, :, 4:5], head.affine, "single")
    assert t2(engine, single).shape == (12, 14, 1) and t2(engine, single).any()
