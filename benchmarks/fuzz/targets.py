"""All fuzz targets by name."""

import bags
import model_files
import pictures
import texts

TARGETS = {**pictures.TARGETS, **model_files.TARGETS, **texts.TARGETS, **bags.TARGETS}
