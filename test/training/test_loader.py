import numpy as np
import pytest
import torch

from seg_ros.classes import ClassSet
from seg_ros.datasets.squares import SquaresDataset
from seg_ros.errors import RecipeError, UnknownNameError
from seg_ros.resources import resource
from seg_ros.training.augment import Augmentation
from seg_ros.training.copy_paste import Paste
from seg_ros.training.loader import Augmented, Draw, EpochSampler, InMemory, make_loader


def draws(epoch: int = 0, **arguments: int) -> list[tuple[int, int, int]]:
    sampler = EpochSampler(**arguments)
    sampler.epoch = epoch
    found = list(sampler)
    assert len(found) == len(sampler)
    return [tuple(draw) for draw in found]


def test_an_epoch_draws_each_image_once_and_drops_what_fills_no_batch() -> None:
    found = draws(size=11, batch_size=4, seed=1)
    assert len(found) == len({image for _, _, image in found}) == 8
    assert found == draws(size=11, batch_size=4, seed=1)
    assert found != draws(epoch=1, size=11, batch_size=4, seed=1)


def test_processes_share_each_batch_of_the_single_process() -> None:
    alone = draws(size=24, batch_size=6, seed=2)
    parts = [draws(size=24, batch_size=6, seed=2, rank=rank, world_size=2) for rank in range(2)]
    for k in range(4):
        together = [draw for part in parts for draw in part[3 * k : 3 * k + 3]]
        assert sorted(together) == sorted(alone[6 * k : 6 * k + 6])


def test_fewer_images_than_a_batch_are_drawn_again_and_vary() -> None:
    found = draws(size=3, batch_size=8, seed=0)
    assert len(found) == 8
    assert {image for _, _, image in found} == {0, 1, 2}
    dataset = Augmented([SquaresDataset(None, 'train', n_images=3)], Augmentation((64, 64)), 0)
    sampler = EpochSampler(3, 8, 0)
    crops = [dataset[draw][0].numpy().tobytes() for draw in sampler]
    assert len(set(crops)) == 8


def test_workers_change_nothing_and_leave_the_global_generator_alone() -> None:
    dataset = Augmented([InMemory(SquaresDataset(None, 'train', n_images=4))], Augmentation((32, 32)), 7)
    batches = []
    for workers in (0, 1):
        torch.manual_seed(0)
        batches.append(list(make_loader(dataset, EpochSampler(4, 2, 7), 2, workers)))
        assert torch.equal(torch.get_rng_state(), torch.manual_seed(0).get_state())
    for (image, labels), (same, same_labels) in zip(*batches, strict=True):
        assert image.shape == (2, 32, 32, 3)
        assert image.dtype == labels.dtype == torch.uint8
        np.testing.assert_array_equal(image, same)
        np.testing.assert_array_equal(labels, same_labels)


class Flat:
    """Image ``k`` is one class and its grey; of the last, the left half is void."""

    classes = ClassSet.from_yaml(resource('config/labels/camvid11.yaml'))
    names = ['0', '1', '2']

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.full((32, 32), index, np.uint8)
        labels[:, : 16 * (index == 2)] = 255
        return np.full((32, 32, 3), 40 * index + 40, np.uint8), labels


def test_things_are_pasted_with_their_pixels_and_nothing_else_is() -> None:
    name = Flat.classes.names[2]
    pasting = Augmented([Flat()], Augmentation((32, 32)), 0, Paste((name,), probability=1.0, per_class=1.0))
    kinds = set()
    for position in range(40):
        image, labels = pasting[Draw(0, position, 0)]
        is_pasted = labels == 2
        np.testing.assert_array_equal(image[..., 0], torch.where(is_pasted, 120, 40))
        assert (labels[~is_pasted] == 0).all()  # void is not pasted
        kinds.add(int(is_pasted.sum()))
    assert kinds == {0, 512}
    assert torch.equal(pasting[Draw(0, 5, 0)][0], pasting[Draw(0, 5, 0)][0])


def test_how_often_things_are_pasted() -> None:
    rng = np.random.default_rng(0)
    drawn = [Paste(('a', 'b'), probability=0.5, per_class=0.7).draw((4, 6), rng) for _ in range(4000)]
    assert abs(np.mean([4 in ids for ids in drawn]) - 0.35) < 0.03
    assert abs(np.mean([len(ids) for ids in drawn]) - 0.7) < 0.05


def test_classes_to_paste_that_are_not_there_are_named_with_those_that_are() -> None:
    with pytest.raises(UnknownNameError, match=f"'tram'.*{Flat.classes.names[0]}"):
        Augmented([Flat()], Augmentation((32, 32)), 0, Paste(('tram',)))
    with pytest.raises(RecipeError, match='probability is 2'):
        Paste(('car',), probability=2)
