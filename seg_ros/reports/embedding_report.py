"""Report on the embeddings of a model: page, a sheet for each image, and figures."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from seg_ros.datasets.walk import walk
from seg_ros.datasets.wrappers import EvenSample
from seg_ros.evaluation.embedding_pictures import EmbeddingColours, Spot, choose_spots
from seg_ros.evaluation.embedding_views import EmbeddedModel, LabelChanges, View
from seg_ros.reports import embedding_page
from seg_ros.reports.embedding_plates import Painter, Plate


@dataclass(frozen=True)
class EmbeddingReport:
    """Result of the report.

    Attributes:
        facts: Facts about model, images and changed labels, name to value.
        figures: Figures for JSON.
    """

    facts: dict[str, str]
    figures: dict[str, Any]


def report_embeddings(
    folder: Path, model: EmbeddedModel, images: EvenSample, data: str, spots: Sequence[Spot] = ()
) -> EmbeddingReport:
    """Measure the embeddings and their filter, and write ``index.html`` and a PNG file for each image.

    Args:
        folder: Folder of the files; it is made if it does not exist.
        model: Model with embeddings.
        images: Images to measure on. Labels are compared if they have the classes of the model.
        data: Name of the data set and its split, for the facts.
        spots: Pixels whose masks are shown in all images; empty = chosen for each image.
    """
    classes = model.model.metadata.classes
    is_judged = classes.names == images.classes.names
    views = [
        model.look(images.names[index], image, truth if is_judged else None)
        for index, (image, truth) in walk(images, 'looking')
    ]
    stride = model.embedding_metadata.stride
    chosen = [list(spots) or choose_spots(view, model.filter.window, stride) for view in views]
    colours = EmbeddingColours().fit([view.embeddings for view in views])
    folder.mkdir(parents=True, exist_ok=True)
    plates = _draw(folder, Painter(model, colours), views, chosen)
    change, page = sum((view.change for view in views), LabelChanges()), folder / 'index.html'
    facts = {
        **model.as_facts(),
        'colours': colours.as_text(),
        'images': f'{len(images)} of {images.n_available}, {data}',
        'labels changed': change.as_text(),
    }
    if not is_judged and len(images.classes):
        facts['true labels'] = 'not compared: the data set has other classes than the model'
    title = f'{model.model.path.stem}: embeddings'
    embedding_page.write_page(page, title, facts, classes, plates)
    figures = {
        **model.as_json(),
        'n_images': len(images),
        'component_shares': colours.explained_variance_ratio_.tolist(),
        **change.as_json(),
        'images': [
            {'name': view.name, **view.change.as_json(), 'masks': [asdict(spot) for spot in of_view]}
            for view, of_view in zip(views, chosen, strict=True)
        ],
    }
    return EmbeddingReport(facts | {'page': str(page)}, figures)


def _draw(
    folder: Path, painter: Painter, views: Sequence[View], spots: Sequence[Sequence[Spot]]
) -> list[Plate]:
    """Draw each image, and write its sheet."""
    plates = []
    for view, chosen in zip(tqdm(views, desc='drawing', unit='image', disable=None), spots, strict=True):
        plates.append(painter.plate(view, chosen))
        embedding_page.write_sheet(folder / f'{_file_name(view.name)}.png', plates[-1])
    return plates


def _file_name(name: str) -> str:
    """Name of an image as a file name: other characters become underscores."""
    return re.sub(r'[^\w.-]', '_', name)
