"""All fuzz targets by name."""

import bags
import graphs
import model_files
import pictures
import texts

TARGETS = {**pictures.TARGETS, **model_files.TARGETS, **graphs.TARGETS, **texts.TARGETS, **bags.TARGETS}
