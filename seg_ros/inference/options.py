"""Options that may change from frame to frame."""

from dataclasses import dataclass

from seg_ros.inference.parameter import field_of
from seg_ros.inference.settings import Settings, check

_PARAMETERS = {
    'confidence_threshold': 'confidence_threshold',
    'filter_iterations': 'embedding_filter.iterations',
    'filter_hardness': 'embedding_filter.hardness',
    'refinement': 'segments.refinement',
    'superpixels': 'segments.superpixels',
    'region_size': 'segments.region_size',
    'merge': 'segments.merge',
    'merge_limit': 'segments.merge_limit',
}
"""Option -> parameter of the same meaning, range and default."""


@dataclass(frozen=True)
class FrameOptions:
    """Outputs and settings of one frame.

    Attributes:
        confidence: Whether to compute the confidence of each pixel.
        segments: Whether to find segments and their codes; needs a model with codes.
        filter: Whether to apply the embedding filter, if the segmenter was loaded with one.
        confidence_threshold: Confidence, 0..1, below which a pixel becomes 255, unlabelled.
        filter_iterations: Number of iterations of the embedding filter; 0 = the setting in the model file.
        filter_hardness: Decay of a pixel's weight with embedding distance; 0 = the setting in the model file.
        refinement: Weight of a segment's mean scores against a pixel's own; 0 = none; needs codes.
        superpixels: Superpixel algorithm; 'auto' = the setting in the model file.
        region_size: Size of a superpixel in pixels of the network's input; 0 = the setting in the model file.
        merge: Rule by which superpixels become segments, a name in MERGES.
        merge_limit: Maximum fraction of differing bits for merging; -1 = the setting in the model file.

    Raises:
        ParameterError: A value is out of the range of the parameter with the same meaning.
    """

    confidence: bool = False
    segments: bool = False
    filter: bool = True
    confidence_threshold: float = Settings.confidence_threshold
    filter_iterations: int = Settings.embedding_filter_iterations
    filter_hardness: float = Settings.embedding_filter_hardness
    refinement: float = Settings.segments_refinement
    superpixels: str = Settings.segments_superpixels
    region_size: int = Settings.segments_region_size
    merge: str = Settings.segments_merge
    merge_limit: float = Settings.segments_merge_limit

    def __post_init__(self) -> None:
        for option, parameter in _PARAMETERS.items():
            check(parameter, getattr(self, option))

    @classmethod
    def from_settings(
        cls, settings: Settings, *, confidence: bool = False, segments: bool = False
    ) -> 'FrameOptions':
        """The options that the parameters of a node or command give.

        Args:
            settings: Values of all parameters.
            confidence: Whether to compute the confidence of each pixel.
            segments: Whether to find segments and their codes.
        """
        values = {option: getattr(settings, field_of(parameter)) for option, parameter in _PARAMETERS.items()}
        return cls(confidence=confidence, segments=segments, **values)
