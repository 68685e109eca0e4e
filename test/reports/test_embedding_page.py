import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.evaluation.embedding_pictures import EmbeddingColours, Spot, mask_at
from seg_ros.evaluation.embedding_views import EmbeddedModel
from seg_ros.evaluation.filter_methods import cell_colours
from seg_ros.reports.embedding_page import write_page, write_sheet
from seg_ros.reports.embedding_plates import PHOTOMETRIC_HARDNESS, Painter, Plate
from seg_ros.synthetic import RenderedDrive


class Tags(HTMLParser):
    """Checks that tags are closed in the order in which they are opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.n_images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.n_images += tag == 'img'
        if tag not in ('img', 'meta'):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope='module')
def painter(embedded_model_file: Path) -> Painter:
    return Painter(EmbeddedModel.load(str(embedded_model_file), 'auto', 'cpu'), EmbeddingColours())


@pytest.fixture(scope='module')
def plate(painter: Painter) -> Plate:
    view = painter.model.look('<one> & two', *RenderedDrive(5, 1, 96, 128)[0])
    painter.colours.fit([view.embeddings])
    return painter.plate(view, [Spot(4 * k, 4 * k, k, k) for k in (0, 3, 8, 9, 10, 11, 23)])


def test_a_plate_has_pictures_of_one_size(plate: Plate) -> None:
    *titles, changed = plate.pictures
    assert titles == ['image', 'embeddings', 'masks', 'labels without the filter', 'labels with the filter']
    assert changed.startswith('changed')
    assert len({picture.shape for key, picture in plate.pictures.items() if key != 'masks'}) == 1
    assert plate.pictures['image'].shape == (384, 512, 3)
    assert plate.pictures['masks'].shape == (768, 1024, 3)
    assert [title.split(':')[0] for title in plate.close_ups] == list('1234567')
    # 11 embeddings of 4 pixels each way, enlarged 6 times, four below one another
    assert {picture.shape for picture in plate.close_ups.values()} == {(4 * 264 + 12, 264, 3)}


def test_the_mask_by_colour_is_that_of_a_bilateral_filter() -> None:
    image = np.full((8, 8, 3), 40, np.uint8)
    image[:, 4:] = (200, 120, 40)
    colours = cell_colours(image, (4, 4))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float64)[::2, ::2] / 255
    got = mask_at(colours, Spot(2, 2, 1, 1), PHOTOMETRIC_HARDNESS, 3)
    want = np.exp(-PHOTOMETRIC_HARDNESS * np.abs(lab - lab[1, 1]).sum(2))
    want[3], want[:, 3] = 0, 0  # outside the window
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got[1, 1] == 1
    assert got[0, 2] < 0.01


def test_the_picture_of_embeddings_has_a_square_for_each(painter: Painter, plate: Plate) -> None:
    view = painter.model.look('a', *RenderedDrive(5, 1, 96, 128)[0])
    squares = painter.colours.transform(view.embeddings).repeat(16, 0).repeat(16, 1)
    np.testing.assert_array_equal(plate.pictures['embeddings'], squares)


def test_what_a_pixel_is_is_told(painter: Painter) -> None:
    view = painter.model.look('a', *RenderedDrive(5, 1, 96, 128)[0])
    view.plain[0, 0], view.filtered[0, 0], view.plain[0, 1], view.filtered[0, 1] = 3, 3, 255, 8
    assert painter.describe(Spot(0, 0, 0, 0), view) == 'road'
    assert painter.describe(Spot(1, 0, 0, 0), view) == 'unlabelled, now car'


def test_the_page_is_whole_and_alone(painter: Painter, plate: Plate, tmp_path: Path) -> None:
    path, classes = tmp_path / 'new/p.html', painter.model.model.metadata.classes
    write_page(path, 'A & B', {'filter': '<x>'}, classes, [plate, plate])
    page = path.read_text()
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert not tags.open
    assert tags.n_images == len(re.findall('src="data:image/jpeg;base64,', page)) == 2 * (6 + 7)
    assert not re.search(r'(src|href)="(?!data:)|url\(|<script|@import', page)
    for words in ('A &amp; B', '&lt;x&gt;', '&lt;one&gt; &amp; two', 'became right', *classes.names):
        assert words in page
    assert '<one>' not in page


def test_the_page_fits_phone_and_desktop(
    painter: Painter, plate: Plate, tmp_path: Path, check_in_chromium: Callable[[Path, int], None]
) -> None:
    path = tmp_path / 'p.html'
    write_page(path, 'Embeddings', {'filter': 'x' * 200}, painter.model.model.metadata.classes, [plate] * 2)
    check_in_chromium(path, 2 * (6 + 7))


def test_the_sheet_shows_all(plate: Plate, tmp_path: Path) -> None:
    write_sheet(tmp_path / 'p.png', plate)
    sheet = cv2.imread(str(tmp_path / 'p.png'))
    assert sheet.shape[1] == 1500
    cell = (1500 - 4 * 6) // 3
    assert sheet.shape[0] > 2 * cell * 96 / 128 + 2 * 3 * (1500 - 7 * 6) // 6  # two rows and two of close-ups
