"""Operations of PyTorch (``torch.ops.aten``), by how they treat channels.

Convolutions have rules of their own. An operation in none of these tables counts as unknown, unless PyTorch
tags it as pointwise.
"""

NORMALISATIONS = {
    'native_batch_norm',
    'cudnn_batch_norm',
    'miopen_batch_norm',
    '_native_batch_norm_legit',
    '_native_batch_norm_legit_no_training',
}
"""Batch normalisations; each input channel has one value in each of their vectors."""

WITHIN_CHANNELS = {
    'max_pool2d_with_indices',
    'avg_pool2d',
    '_adaptive_avg_pool2d',
    'adaptive_max_pool2d',
    'upsample_nearest2d',
    '_upsample_nearest_exact2d',
    'upsample_bilinear2d',
    'upsample_bicubic2d',
    'replication_pad2d',
    'reflection_pad2d',
}
"""Each channel of the result depends on the same channel of the input alone."""

REARRANGING = {
    'alias',
    'cat',
    'channel_shuffle',
    'clone',
    'constant_pad_nd',
    'detach',
    'expand',
    'flip',
    'permute',
    'pixel_shuffle',
    'pixel_unshuffle',
    'repeat',
    'roll',
    'select',
    'slice',
    'split',
    'split_with_sizes',
    'squeeze',
    'stack',
    't',
    'transpose',
    'unbind',
    'unsafe_split',
    'unsqueeze',
    'view',
    '_unsafe_view',
}
"""Values are moved, copied or padded, but not changed."""

POINTWISE = {
    '_prelu_kernel',
    '_to_copy',
    'bitwise_and',
    'floor_divide',
    'fmod',
    'hardswish',
    'hardtanh',
    'masked_fill',
    'prelu',
    'where',
}
"""Values are combined place by place, although PyTorch does not tag these operations so."""
