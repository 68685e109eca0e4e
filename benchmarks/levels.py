"""Compare all levels of quantization of the shipped networks, for the table of docs/smaller_models.md.

Each level is made from the float form, with codes and embeddings if it has them. A network that is shipped as
int8 alone has its rounded weights as float form. Each level and each shipped file is compared with the float
form, and all are timed in turn.

    python benchmarks/levels.py --data DIR --markdown docs/smaller_models.md --plot docs/tradeoff.png
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from seg_ros.compression.context import CompressionContext
from seg_ros.compression.learning import take
from seg_ros.compression.steps import Quantize
from seg_ros.datasets.camvid import CamVid
from seg_ros.datasets.wrappers import EvenSample
from seg_ros.evaluation.compare import Comparison, compare
from seg_ros.evaluation.figures import write_json
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import Model, load_model
from seg_ros.reports.compare_tables import as_text, check_markdown, write_markdown
from seg_ros.reports.fronts import save_fronts
from seg_ros.training.distributed import Processes
from seg_ros.training.recipe import Source

LEVELS = ('bf16', 'fp16', 'int8', 'int4', 'shared-5', 'shared-4')
WITHOUT_INT8 = tuple(level for level in LEVELS if level != 'int8')


@dataclass(frozen=True)
class Plan:
    """Files to compare with a shipped network.

    Attributes:
        made: Levels to make files of.
        shipped: Names of its smaller forms that are shipped.
    """

    made: Sequence[str] = LEVELS
    shipped: Sequence[str] = ()


NETWORKS = {
    'lite_camvid': Plan(made=WITHOUT_INT8, shipped=['lite_camvid_int8']),
    'enet_camvid': Plan(shipped=['enet_camvid_int8']),
    'segnet_camvid_int8': Plan(made=WITHOUT_INT8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='root folder of CamVid')
    parser.add_argument('--split', default='val')
    parser.add_argument('--limit', type=int, default=101, help='number of images to measure on')
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--folder', type=Path, default=Path('runs/levels'), help='folder for the files')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path, help='picture of mean IoU against each cost')
    parser.add_argument('--markdown', type=Path, help='file in which the table is put between its markers')
    arguments = parser.parse_args()
    if arguments.markdown:
        check_markdown(arguments.markdown)

    dataset = EvenSample(CamVid(arguments.data, arguments.split), arguments.limit)
    parts = []
    for name in arguments.networks:
        files = [str(path) for path in at_levels(name, arguments)]
        settings = Settings(backend=arguments.backend)
        parts.append(compare([*files, *NETWORKS[name].shipped], dataset, settings))
        print(as_text(parts[-1]), flush=True)
    rows = [row for part in parts for row in part.rows]
    together = Comparison(dataset, rows, [failure for part in parts for failure in part.failed])
    write_json(arguments.json, {'dataset': 'camvid', 'split': arguments.split, **together.as_json()})
    if arguments.markdown:
        write_markdown(arguments.markdown, together)
    if arguments.plot:
        save_fronts(arguments.plot, together.rows)


def at_levels(name: str, arguments: argparse.Namespace) -> list[Path]:
    """Files of a network, the float form first; existing files are used again."""
    shipped = load_model(name)
    whole = load_model(made(shipped, 'fp32', arguments))
    return [whole.path, shipped.path, *(made(whole, level, arguments) for level in NETWORKS[name].made)]


def made(parent: Model, level: str, arguments: argparse.Namespace) -> Path:
    """File of a model at a level, calibrated on ``train``."""
    stem = parent.path.stem.removesuffix('_int8').removesuffix('_fp32')
    name = f'{stem}_{level.replace("-", "")}'
    is_taken = any(name in plan.shipped for plan in NETWORKS.values())
    path = arguments.folder / f'{stem + "_whole_int8" if is_taken else name}.safetensors'
    if not path.is_file():
        processes = Processes(0, 1, torch.device('cpu'))
        train = (Source('camvid', 'train'),)
        take(
            Quantize(level),
            parent,
            path,
            CompressionContext(train, None, arguments.data, processes, {}, parent.path),
        )
    return path


if __name__ == '__main__':
    main()
