"""Short names for models that are worth choosing. Imports nothing heavy.

docs/models.md says why each was chosen and under which licence its weights are.
"""

from __future__ import annotations

from dataclasses import dataclass

# open_clip asks a Hugging Face repository for these in turn and keeps the first that is there.
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# The weights of a folder or repository of transformers', in the order in which they are looked for.
TRANSFORMERS_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Alias:
    """A short name for a model, and what a person wants to know before choosing it."""

    name: str
    spec: str  # as a person would write it: see spec.py
    hub: str | None  # Hugging Face repository of the weights; None when nothing is downloaded
    files: tuple[str, ...]  # weight files in that repository, in the order they are tried
    parameters_m: float  # millions, both towers
    download_mb: int  # the weights file, fp32, rounded
    resolution: int  # pixels a side that the image tower sees
    dim: int  # numbers in an embedding
    languages: str
    imagenet: float | None  # published zero-shot top-1 in percent; None when none is published
    note: str


_DEFAULT = Alias(
    name="default",
    spec="ViT-B-32-256/datacomp_s34b_b86k",
    hub="laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
    files=OPEN_CLIP_FILES,
    parameters_m=151.3,
    download_mb=605,
    resolution=256,
    dim=512,
    languages="English",
    imagenet=72.8,  # open_clip docs/openclip_results.csv
    note="good results at a good pace on any computer",
)

_BEST = Alias(
    name="best",
    spec="PE-Core-L-14-336/meta",
    hub="timm/PE-Core-L-14-336",
    files=OPEN_CLIP_FILES,
    parameters_m=671.1,
    download_mb=2685,
    resolution=336,
    dim=1024,
    languages="English",
    imagenet=83.5,  # facebookresearch/perception_models README
    note="finds the most; wants a GPU",
)

_FAST = Alias(
    name="fast",
    spec="ViT-B-32/laion2b_s34b_b79k",
    hub="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    files=OPEN_CLIP_FILES,
    parameters_m=151.3,
    download_mb=605,
    resolution=224,
    dim=512,
    languages="English",
    imagenet=66.6,  # open_clip docs/openclip_results.csv
    note="quickest on a CPU, and finds about as much as default",
)

_MULTILINGUAL = Alias(
    name="multilingual",
    spec="ViT-B-16-SigLIP2-256/webli",
    hub="timm/ViT-B-16-SigLIP2-256",
    files=OPEN_CLIP_FILES,
    parameters_m=375.2,
    download_mb=1501,
    resolution=256,
    dim=768,
    languages="109 languages",
    imagenet=79.1,  # google-research/big_vision README_siglip2.md
    note="searches in many languages; better than default, slower",
)

_OPENAI_L14_336 = Alias(
    name="openai-l14-336",
    spec="ViT-L-14-336/openai",  # QuickGELU: the name alone does not say so, open_clip's tag does
    hub="timm/vit_large_patch14_clip_336.openai",
    files=OPEN_CLIP_FILES,
    parameters_m=427.9,
    download_mb=1712,
    resolution=336,
    dim=768,
    languages="English",
    imagenet=76.6,  # open_clip docs/openclip_results.csv
    note="OpenAI's largest CLIP, to match other tools that use it",
)

# The authors' own names of Chinese-CLIP's sizes, with the repository of each and its file there.
CHINESE = {
    "ViT-B-16": ("OFA-Sys/chinese-clip-vit-base-patch16", "clip_cn_vit-b-16.pt"),
    "ViT-L-14": ("OFA-Sys/chinese-clip-vit-large-patch14", "clip_cn_vit-l-14.pt"),
    "ViT-L-14-336": ("OFA-Sys/chinese-clip-vit-large-patch14-336px", "clip_cn_vit-l-14-336.pt"),
    "ViT-H-14": ("OFA-Sys/chinese-clip-vit-huge-patch14", "clip_cn_vit-h-14.pt"),
    "RN50": ("OFA-Sys/chinese-clip-rn50", "clip_cn_rn50.pt"),  # which transformers does not have
}
CHINESE_FILES = dict(CHINESE.values())


def _chinese(
    alias: str, size: str, parameters_m: float, resolution: int, dim: int, note: str
) -> Alias:
    repository, file = CHINESE[size]
    return Alias(
        name=alias,
        spec=f"chinese-clip:{repository}",
        hub=repository,
        files=(*TRANSFORMERS_FILES, file),
        parameters_m=parameters_m,
        download_mb=round(4 * parameters_m),
        resolution=resolution,
        dim=dim,
        languages="Chinese",
        imagenet=None,  # published for Chinese class names alone
        note=note,
    )


_CHINESE = (
    _chinese("chinese", "ViT-B-16", 188.3, 224, 512, "searches in Chinese"),
    _chinese("chinese-l14", "ViT-L-14", 406.2, 224, 768, "Chinese; finds more, slower"),
    _chinese("chinese-l14-336", "ViT-L-14-336", 406.6, 336, 768, "Chinese, and finer detail"),
    _chinese("chinese-h14", "ViT-H-14", 957.6, 224, 1024, "Chinese; finds the most; wants a GPU"),
    _chinese("chinese-rn50", "RN50", 77.0, 224, 1024, "Chinese; small and quick, finds less"),
)

_POCKET = Alias(
    name="pocket",
    spec="pocket",
    hub=None,
    files=(),
    parameters_m=37.0,  # towers 6.1 and 22.7, heads 8.2
    download_mb=0,
    resolution=260,
    dim=480,
    languages="English",
    imagenet=None,
    note="works with no network; small and quick, finds less",
)

_ALL = (_DEFAULT, _BEST, _FAST, _MULTILINGUAL, _OPENAI_L14_336, *_CHINESE, _POCKET)

ALIASES: dict[str, Alias] = {alias.name: alias for alias in _ALL}
