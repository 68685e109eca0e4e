"""ENet, a small and fast network for segmentation.

A. Paszke, A. Chaurasia, S. Kim, E. Culurciello, "ENet: a deep neural network architecture for real-time
semantic segmentation", arXiv 1606.02147, 2016. Table 1 gives the sequence, figure 2 the modules.

Choices that the paper leaves open:

- A reduction keeps a quarter of its input channels.
- PReLU, with one slope per channel, is used where the paper has it and in the decoder as well.
- The last full convolution has a 3x3 kernel and a bias.
- Sizes that do not divide by 8 are padded by repeating the border; the scores are cropped.

``form='davidtvs'`` makes other choices, those of https://github.com/davidtvs/PyTorch-ENet, so that its
public weights fit: the initial pooling reads 3x3 windows, each of the two asymmetric convolutions has a
normalisation and an activation, the extension ends in an activation, and full convolutions inside have 2x2
kernels.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.networks.layers import concatenate, max_pool, max_unpool, pad_to_multiple


def _act(channels: int, has_slopes: bool) -> nn.Module:
    return nn.PReLU(channels) if has_slopes else nn.ReLU()


def _norm_act(channels: int, has_slopes: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), _act(channels, has_slopes))


def _convolution(channels: int, kind: str, dilation: int, form: str) -> nn.Module:
    """The middle convolution of a bottleneck; ``kind`` is a name of the paper."""
    if kind == 'asymmetric':
        between = [_norm_act(channels)] if form == 'davidtvs' else []
        return nn.Sequential(
            nn.Conv2d(channels, channels, (5, 1), padding=(2, 0), bias=False),
            *between,
            nn.Conv2d(channels, channels, (1, 5), padding=(0, 2), bias=False),
        )
    return nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)


def _ending(channels: int, dropout: float, form: str) -> list[nn.Module]:
    """The modules of an extension after its last convolution."""
    act = [_act(channels, True)] if form == 'davidtvs' else []
    return [nn.BatchNorm2d(channels), *act, nn.Dropout2d(dropout)]


class InitialBlock(nn.Module):
    """Figure 2a: strided convolution and max pooling side by side: (B, 3, H, W) to (B, 16, H/2, W/2)."""

    def __init__(self, in_channels: int = 3, out_channels: int = 16, *, form: str = 'paper') -> None:
        super().__init__()
        self.form = form
        self.conv = nn.Conv2d(in_channels, out_channels - in_channels, 3, stride=2, padding=1, bias=False)
        self.norm_act = _norm_act(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, 2, 1) if self.form == 'davidtvs' else max_pool(x)[0]
        out: Tensor = self.norm_act(concatenate(self.conv(x), pooled))
        return out


class Bottleneck(nn.Module):
    """Figure 2b: reduction, regular, dilated or asymmetric convolution, expansion; added to the input."""

    def __init__(
        self,
        channels: int,
        *,
        kind: str = 'regular',
        dilation: int = 1,
        dropout: float = 0.1,
        has_slopes: bool = True,
        form: str = 'paper',
    ) -> None:
        super().__init__()
        inner = channels // 4
        self.extension = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            _norm_act(inner, has_slopes),
            _convolution(inner, kind, dilation, form),
            _norm_act(inner, has_slopes),
            nn.Conv2d(inner, channels, 1, bias=False),
            *_ending(channels, dropout, form),
        )
        self.act = _act(channels, has_slopes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(x + self.extension(x))
        return out


class DownsamplingBottleneck(nn.Module):
    """Figure 2b with pooling; also returns the pool_indices.

    The reduction is a strided 2x2 convolution. The main branch is pooled and zero-padded to the new number of
    channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dropout: float,
        has_slopes: bool = True,
        form: str = 'paper',
    ) -> None:
        super().__init__()
        inner = in_channels // 4
        self.extension = nn.Sequential(
            nn.Conv2d(in_channels, inner, 2, stride=2, bias=False),
            _norm_act(inner, has_slopes),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            _norm_act(inner, has_slopes),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            *_ending(out_channels, dropout, form),
        )
        self.act = _act(out_channels, has_slopes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, pool_indices = max_pool(x)
        out = self.extension(x)
        head, tail = out.split([x.shape[1], out.shape[1] - x.shape[1]], dim=1)
        return self.act(concatenate(head + pooled, tail)), pool_indices


class UpsamplingBottleneck(nn.Module):
    """Section 4: doubles height and width.

    The main branch is a 1x1 convolution and a max-unpooling with the encoder's pool_indices. The extension is
    a strided full convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dropout: float,
        has_slopes: bool = True,
        form: str = 'paper',
    ) -> None:
        super().__init__()
        inner = in_channels // 4
        kernel, padding = (2, 0) if form == 'davidtvs' else (3, 1)
        full_convolution = nn.ConvTranspose2d(
            inner, inner, kernel, stride=2, padding=padding, output_padding=padding, bias=False
        )
        self.main = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.extension = nn.Sequential(
            nn.Conv2d(in_channels, inner, 1, bias=False),
            _norm_act(inner, has_slopes),
            full_convolution,
            _norm_act(inner, has_slopes),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            *_ending(out_channels, dropout, form),
        )
        self.act = _act(out_channels, has_slopes)

    def forward(self, x: Tensor, pool_indices: Tensor) -> Tensor:
        out: Tensor = self.act(max_unpool(self.main(x), pool_indices) + self.extension(x))
        return out


def _context_stage(channels: int, dropout: float, has_slopes: bool, form: str) -> nn.Sequential:
    """Bottlenecks 2.1 to 2.8 of table 1, which stage 3 repeats."""
    kinds: list[tuple[str, int]] = [
        ('regular', 1),
        ('dilated', 2),
        ('asymmetric', 1),
        ('dilated', 4),
        ('regular', 1),
        ('dilated', 8),
        ('asymmetric', 1),
        ('dilated', 16),
    ]
    return nn.Sequential(
        *(
            Bottleneck(
                channels, kind=kind, dilation=dilation, dropout=dropout, has_slopes=has_slopes, form=form
            )
            for kind, dilation in kinds
        )
    )


class ENet(nn.Module):
    """ENet as published.

    Args:
        n_classes: Number of classes, at least 1.
        dropout: Probability of spatial dropout from bottleneck 2.0 on; 0.1 in the paper. The first stage uses
            a tenth of it, 0.01 in the paper.
        slopes: 'all' = PReLU everywhere, as published; 'fine' = PReLU only at half the size of the image and
            ReLU elsewhere, which 8-bit convolutions include at no cost.
        half_scores: Whether scores have half the height and width, from a 3x3 convolution instead of the last
            full convolution.
        form: 'paper', or 'davidtvs' for public weights; see the top of this file.

    Raises:
        ParameterError: ``slopes`` or ``form`` is unknown.
    """

    stride = 8

    def __init__(
        self,
        n_classes: int,
        *,
        dropout: float = 0.1,
        slopes: str = 'all',
        half_scores: bool = False,
        form: str = 'paper',
    ) -> None:
        super().__init__()
        if slopes not in ('all', 'fine'):
            raise ParameterError(f"slopes is '{slopes}'; expected 'all' or 'fine'")
        if form not in ('paper', 'davidtvs'):
            raise ParameterError(f"form is '{form}'; expected 'paper' or 'davidtvs'")
        early, coarse = dropout / 10, slopes == 'all'
        self.initial = InitialBlock(form=form)
        self.down1 = DownsamplingBottleneck(16, 64, dropout=early, has_slopes=coarse, form=form)
        self.stage1 = nn.Sequential(
            *(Bottleneck(64, dropout=early, has_slopes=coarse, form=form) for _ in range(4))
        )
        self.down2 = DownsamplingBottleneck(64, 128, dropout=dropout, has_slopes=coarse, form=form)
        self.stage2 = _context_stage(128, dropout, coarse, form)
        self.stage3 = _context_stage(128, dropout, coarse, form)
        self.up4 = UpsamplingBottleneck(128, 64, dropout=dropout, has_slopes=coarse, form=form)
        self.stage4 = nn.Sequential(
            *(Bottleneck(64, dropout=dropout, has_slopes=coarse, form=form) for _ in range(2))
        )
        self.up5 = UpsamplingBottleneck(64, 16, dropout=dropout, form=form)
        self.stage5 = Bottleneck(16, dropout=dropout, form=form)
        self.half_scores = half_scores
        if half_scores:
            self.classify = nn.Conv2d(16, n_classes, 3, padding=1)
        else:
            self.full_conv = nn.ConvTranspose2d(16, n_classes, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of a batch of images.

        Args:
            x: (B, 3, H, W) float, normalised.

        Returns:
            (B, n_classes, H, W) float scores; half as high and wide, rounded up, with ``half_scores``.
        """
        height, width = x.shape[-2:]
        x = self.initial(pad_to_multiple(x, self.stride))
        x, indices1 = self.down1(x)
        x = self.stage1(x)
        x, indices2 = self.down2(x)
        x = self.stage3(self.stage2(x))
        x = self.stage4(self.up4(x, indices2))
        x = self.stage5(self.up5(x, indices1))
        scores: Tensor
        if self.half_scores:
            scores, height, width = self.classify(x), -(-height // 2), -(-width // 2)
        else:
            scores = self.full_conv(x)
        return scores[..., :height, :width]
