"""The networks that ``networks.py`` trains: small members of the families that people compress."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Vgg(nn.Module):
    """Plain 3x3 convolutions between poolings (Simonyan and Zisserman, arXiv 1409.1556), 31 million MACs.

    Input: normalised images [n, 3, 32, 32]; output: logits [n, 10].
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stage, width in enumerate((32, 48, 96, 128)):
            layers += [nn.MaxPool2d(2)] if stage else []
            for inputs in (before, width):
                layers += [nn.Conv2d(inputs, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


class InvertedResidual(nn.Module):
    """Expand, depthwise 3x3, project without an activation; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = expansion * inputs
        self.adds = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6(),
            nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU6(),
            nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.adds else y


class MobileNet(nn.Module):
    """Inverted residuals with linear bottlenecks (Sandler et al., arXiv 1801.04381), without squeeze-excite.

    Input: normalised images [n, 3, 32, 32]; output: logits [n, 10].
    """

    BLOCKS = (
        (16, 24, 2, 1), (24, 24, 1, 4), (24, 48, 2, 4), (48, 48, 1, 4), (48, 48, 1, 4), (48, 80, 2, 4), (80, 80, 1, 4),
    )  # fmt: skip
    """Channels in and out, stride, and how many times wider the block is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.blocks = nn.Sequential(*(InvertedResidual(*block) for block in self.BLOCKS))
        self.head = nn.Sequential(
            nn.Conv2d(80, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(image)))


class Layer(nn.Module):
    """A transformer layer with the norms in front: x [n, length, width] -> [n, length, width]."""

    def __init__(self, width: int, heads: int, inner: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        length, width = x.shape[1:]
        mixed = self.qkv(self.norm1(x)).reshape(-1, length, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4).unbind(0)
        attended = scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = x + self.project(attended.transpose(1, 2).reshape(-1, length, width))
        return x + self.mlp(self.norm2(x))


def positions(length: int, width: int) -> nn.Parameter:
    """What is learned about each place: [1, length, width], with the standard deviation that GPT-2 starts from."""
    return nn.Parameter(torch.randn(1, length, width) * 0.02)


class Vit(nn.Module):
    """A vision transformer (Dosovitskiy et al., arXiv 2010.11929) on 8x8 patches of 4x4 pixels, and a class token.

    Input: normalised images [n, 3, 32, 32]; output: logits [n, 10].
    """

    def __init__(self, width: int = 96, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = positions(65, width)
        self.layers = nn.Sequential(*(Layer(width, heads, 2 * width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(patches.shape[0], -1, -1), patches], 1) + self.positions
        return self.head(self.norm(self.layers(x))[:, 0])


class Encoder(nn.Module):
    """A text classifier: a transformer that sees the whole text, and the mean of what it finds at each position.

    Input: tokens int64[n, length]; output: logits [n, classes].
    """

    def __init__(self, vocabulary: int, length: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), positions(length, width)
        nn.init.normal_(self.tokens.weight, std=0.02)  # as the positions, or these would be lost beside the tokens
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(*(Layer(width, 4, 4 * width) for _ in range(2)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.layers(self.norm(self.tokens(tokens) + self.positions))
        return self.head(x.mean(1))


class LanguageModel(nn.Module):
    """A causal transformer that predicts the next token, as GPT-2 does.

    Input: tokens int64[n, length]; output: logits [n, vocabulary, length], classes on axis 1 as ``docs/data.md`` has
    them for labels by position.
    """

    def __init__(self, vocabulary: int, length: int, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), positions(length, width)
        nn.init.normal_(self.tokens.weight, std=0.02)  # as the positions, or these would be lost beside the tokens
        self.layers = nn.Sequential(*(Layer(width, 4, 4 * width, causal=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.layers(self.tokens(tokens) + self.positions)
        return self.head(self.norm(x)).transpose(1, 2)
