"""Each weight file by name: what it is, its hash, its licence, and where it is published.

An address stands here only where its bytes are known by a hash or a commit; where authors publish on a drive or under
links that expire, there is a hint for a person alone.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One weight file.

    name: what recipes and commands say. file: its name on disk, with the pack's folder where there is one; a folder
    ends in `/`. hub: the repository on the model hub that `fetch` takes a folder from; revision: the commit there,
    which names every byte of it. url: where `fetch` takes a file from, only beside a hash.
    levels: of an embedder on ordinary photographs (`people`, 22 people; benchmarks/clustering.py prints them):
    strangers' median cosine and its spread, and the median of one person's.
    copy, copy_sha256: another file with the very same numbers, which `url` then gives: its name on disk and its hash.
    sha256: None where unknown (carried files: the line in weights/SHA256SUMS). licence: as its authors state it;
    commercial: whether that licence allows commercial use. url_hint: where its authors publish it.
    kind: `embedder`, `face encoder`, `detector`, `age`, `pose`, `origin`, `autoencoder`, `base` or `metric`. network:
    an AdaFace network's or a face encoder's architecture, `mtcnn`, `dlib`, or how an ONNX embedder wants its input:
    `rgb 0..255` or `rgb -1..1`.
    package: the installed package that carries it; file is then the place there, and nothing of the package is
    imported.
    """

    name: str
    file: str
    kind: str
    licence: str
    commercial: bool
    url_hint: str
    sha256: str | None = None
    network: str = ""
    note: str = ""
    hub: str = ""
    revision: str = ""
    package: str = ""
    url: str = ""
    copy: str = ""
    copy_sha256: str | None = None
    levels: tuple[float, float, float] | None = None

    @property
    def pack(self) -> str:
        """The pack of InsightFace's model zoo that it is a member of, or nothing."""
        return self.name.rpartition("/")[0]

    @property
    def is_folder(self) -> bool:
        """Whether the name stands for a folder."""
        return self.file.endswith("/")

    @property
    def part(self) -> str:
        """A folder's place in its repository on the model hub."""
        return self.file.partition("/")[2]

    @property
    def is_fetched(self) -> bool:
        """Whether `anchorface fetch` gets it."""
        return bool(self.url or self.hub or self.pack)


def _carried(name: str, kind: str, network: str, note: str, levels: tuple[float, float, float] | None = None) -> Weight:
    return Weight(name=name, file=f"{name}.safetensors", kind=kind, licence="Apache-2.0", commercial=True,
                  url_hint="carried in this repository", network=network, note=note, levels=levels)


def _adaface(name: str, network: str, note: str, drive: str, path: str = "", revision: str = "",
             sha256: str | None = None) -> Weight:
    """An official AdaFace network. Its authors publish the checkpoint on a drive, and the same numbers (but for the
    order of the first layer's colours) on the model hub, from where they come under a commit and a hash.
    """
    hub = f"minchul/cvlface_{name}"
    return Weight(name=name, file=f"{name}.ckpt", kind="embedder", licence="MIT", commercial=True, network=network,
                  url_hint=f"github.com/mk-minchul/AdaFace (drive.google.com/file/d/{drive}/view)",
                  note="; ".join(filter(None, (note, "its card asks to follow the licence of the pictures that it "
                                               "was trained on"))),
                  url=f"{HUB}/{hub}/resolve/{revision}/{path}" if sha256 else "",
                  copy=f"{name}{Path(path).suffix}" if sha256 else "", copy_sha256=sha256)


def _farl(epochs: int, note: str) -> Weight:
    return Weight(name=f"farl_b16_ep{epochs}", file=f"FaRL-Base-Patch16-LAIONFace20M-ep{epochs}.pth",
                  kind="face encoder", licence="MIT", commercial=True, url_hint="github.com/FacePerceiver/FaRL",
                  network="farl", note=note)


def _insightface(name: str, file: str, kind: str, url_hint: str, sha256: str, network: str = "", note: str = "",
                 url: str = "", levels: tuple[float, float, float] | None = None) -> Weight:
    return Weight(name=name, file=file, kind=kind, licence="InsightFace: non-commercial research", commercial=False,
                  url_hint=url_hint, sha256=sha256, network=network, note=note, url=url, levels=levels)


def _pack(name: str, kind: str, sha256: str, network: str = "") -> Weight:
    return _insightface(name, f"{name}.onnx", kind, "github.com/deepinsight/insightface, model zoo", sha256, network)


def _scrfd(size: str, sha256: str, note: str) -> Weight:
    file = f"scrfd_{size}_kps.onnx"
    return _insightface(f"scrfd_{size}_kps", file, "detector", "github.com/hpc203/scrfd-opencv", sha256, note=note,
                        url=f"{RAW}/hpc203/scrfd-opencv/9e14b462707fe75105c99213fba911646366aebd/weights/{file}")


def _fsanet(name: str, sha256: str) -> Weight:
    file = f"{name.replace('_', '-')}-iter-688590.onnx"
    return Weight(name=name, file=file, kind="pose", licence="MIT", commercial=True, sha256=sha256,
                  url_hint="github.com/omasaht/headpose-fsanet-pytorch",
                  url=f"{RAW}/omasaht/headpose-fsanet-pytorch/master/pretrained/{file}")


def _klein(name: str, part: str, kind: str, note: str) -> Weight:
    return Weight(name=name, file=f"FLUX.2-klein-base-4B/{part}/", kind=kind, licence="Apache-2.0", commercial=True,
                  url_hint=f"{KLEIN} on the model hub", note=note, hub=KLEIN, revision=KLEIN_REVISION)


def _metric(name: str, file: str, licence: str, url_hint: str, sha256: str | None, note: str, url: str = "") -> Weight:
    return Weight(name=name, file=file, kind="metric", licence=licence, commercial=True, url_hint=url_hint,
                  sha256=sha256, note=note, url=url)


KLEIN = "black-forest-labs/FLUX.2-klein-base-4B"
KLEIN_REVISION = "a3b4f4849157f664bdbc776fd7453c2783562f4d"
HUB, RAW = "https://huggingface.co", "https://raw.githubusercontent.com"
TORCH = "https://download.pytorch.org/models"

PACKS = {
    "buffalo_l": "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
    "antelopev2": "8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
}
"""InsightFace's packs, and the SHA-256 of the archive that their package's model zoo gives under the name."""

WEIGHTS: tuple[Weight, ...] = (
    _carried("adaface_small", "embedder", "small", "the embedded default's identity network",
             levels=(0.063, 0.157, 0.531)),
    _carried("judge_small", "embedder", "judge", "the embedded default's judge, trained apart on other identities",
             levels=(0.406, 0.194, 0.658)),
    _carried("dlib_origin", "origin", "", "what all codes of dlib's network have in common"),
    _carried("face_encoder_small", "face encoder", "small", "the embedded default's face-image encoder"),
    _carried("autoencoder_tiny", "autoencoder", "", "128 px autoencoder of the tiny model"),
    _carried("base_tiny", "base", "", "blind base restorer of the tiny model"),
    _klein("flux2_klein_base_4b", "transformer", "base", "the real backbone, 4 B parameters"),
    _klein("flux2_vae", "vae", "autoencoder", "the real backbone's autoencoder"),
    _klein("flux2_klein_text_encoder", "text_encoder", "text encoder", "read once, by `anchorface prompt`"),
    _klein("flux2_klein_tokenizer", "tokenizer", "tokenizer", "read once, by `anchorface prompt`"),
    Weight(name="flux2_klein_prompt", file="flux2_klein_prompt.safetensors", kind="text", licence="Apache-2.0",
           commercial=True, url_hint="made by `anchorface prompt`", note="the fixed prompts' embeddings"),
    Weight(name="flux2_klein_attributes", file="flux2_klein_attributes.safetensors", kind="attributes",
           licence="Apache-2.0", commercial=True, url_hint="made by `anchorface prompt --attributes`",
           note="what the text encoder says of attributes"),
    _adaface("adaface_ir50_ms1mv2", "ir_50", "the official repository's default", "1eUaSHG4pGlIZK7hBkqjyp2fc2epKoBvI",
             "pretrained_model/model.pt", "3912569f71373cdba02c5cc60418355d30cc3595",
             "b9401a04c1f3e782ac4faa36a255619ef25cf2474321d395412b27a67b47cf7d"),
    _adaface("adaface_ir50_webface4m", "ir_50", "", "1BmDRrhPsHSbXcWZoYFPJg2KJn1sd3QpN",
             "pretrained_model/model.pt", "60a65befbcf7e19284c4f3ac730f56867ed29594",
             "43bd2d570584d95d4a17ce81f26449034c45dbeed750afcab651872abc0e1496"),
    _adaface("adaface_ir101_webface12m", "ir_101", "the strongest of the official networks",
             "1dswnavflETcnAuplZj1IOKKP0eM8ITgT", "model.safetensors", "54f602a0737bd1ee4a4e7e9fd089a485f397fefd",
             "2ea535a43877bd3de8091903935c783ce335be66a9f8917fae9a7a18ae4bbf56"),
    _adaface("adaface_ir18_webface4m", "ir_18", "", "1J17_QW1Oq00EhSWObISnhWEYr2NNrg2y"),
    _farl(16, "the face-image encoder that RG-IPFR names"),
    _farl(64, ""),
    _scrfd("2.5g", "846c13e2488b23a43228901c3732c5d40a6ca1ca8c1255d48c65db869d1e3d9d", "the default detector"),
    _scrfd("500m", "69b42f2bc7f3c2e23177a7dd84f68ca65ad97abdfcfb6a3c6544f55fe8d005a6", "the fast detector"),
    _insightface("mobilefacenet_y1_ms1m_112", "mobilefacenet_y1_ms1m_112.onnx", "embedder",
                 "github.com/honghuCode/mobileFacenet-ncnn",
                 "5cc6b3192b9f9a233909aa236ade0b8466d75efe22c63ebda708ef82584dccb1", "rgb 0..255",
                 "the judge for photographs", levels=(0.007, 0.098, 0.756)),
    Weight(name="mobileface_mit_112", file="mobileface_mit_112.onnx", kind="embedder", licence="MIT", commercial=True,
           url_hint="github.com/statscol/poc-speed-detection", network="rgb 0..255", levels=(0.040, 0.108, 0.519),
           sha256="93d017afe1233cfcfde10e9f4eedb079f5a65c7ab98be99b4db20c9677eb5f52"),
    _insightface("genderage_v1", "genderage_v1.onnx", "age", "github.com/deepinsight/insightface",
                 "ebbd66768654a64bcfe742bca446675cae62e2347be51bfa72417355c2246526",
                 note="coarse: errors of 6 to 8 years"),
    Weight(name="mtcnn", file="assets/weights/", kind="detector", licence="MIT", commercial=True, package="mtcnn",
           url_hint="the package mtcnn 1.0.0", network="mtcnn", note="the default detector where SCRFD is not here",
           sha256="4c3a7a1812f5496a18a9756d9bd09f7cb4c94609fcbe23bee6fc9de6de709b3e"),
    Weight(name="dlib_resnet_v1", file="models/dlib_face_recognition_resnet_model_v1.dat", kind="embedder",
           licence="CC0-1.0", commercial=True, package="face_recognition_models", network="dlib",
           levels=(0.325, 0.123, 0.856),
           url_hint="the package face-recognition-models 0.3.0: the extra `dlib`",
           sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
           note="tells people apart best of those for commercial use; `curate` takes it where it is here"),
    _fsanet("fsanet_1x1", "d85e90cb4b9d3a87e81bbfdcfcd130cbe0e175407042e439a570aa396c44eda6"),
    _fsanet("fsanet_var", "2877b1db98e3dc66468e90df8db4a21059facd1c3f107af91c6d4fe6476a03e1"),
    _pack("buffalo_l/det_10g", "detector", "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"),
    _pack("buffalo_l/w600k_r50", "embedder", "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
          "rgb -1..1"),
    _pack("antelopev2/scrfd_10g_bnkps", "detector", "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"),
    _pack("antelopev2/glintr100", "embedder", "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
          "rgb -1..1"),
    _metric("niqe_pris_params", "niqe_pris_params.npz", "Apache-2.0", "github.com/XPixelGroup/BasicSR",
            "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296", "NIQE's clean statistics",
            f"{RAW}/XPixelGroup/BasicSR/master/basicsr/metrics/niqe_pris_params.npz"),
    _metric("vgg16_imagenet", "vgg16-397923af.pth", "BSD-3-Clause", "torchvision's models, VGG16 IMAGENET1K_V1",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", "under DISTS and LPIPS (vgg)",
            f"{TORCH}/vgg16-397923af.pth"),
    _metric("alexnet_imagenet", "alexnet-owt-7be5be79.pth", "BSD-3-Clause",
            "torchvision's models, AlexNet IMAGENET1K_V1",
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02", "under LPIPS (alex)",
            f"{TORCH}/alexnet-owt-7be5be79.pth"),
    _metric("inception_fid", "weights-inception-2015-12-05-6726825d.pth", "Apache-2.0",
            "github.com/toshas/torch-fidelity, release 0.2.0",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2", "under FID and KID",
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-inception-2015-12-05-6726825d.pth"),
    _metric("inception_ffhq_512", "inception_FFHQ_512.pth", "Apache-2.0", "github.com/TencentARC/VQFR",
            None, "FID's statistics of FFHQ at 512 px"),
)
