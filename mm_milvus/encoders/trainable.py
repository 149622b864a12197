"""The last layers of an encoder on transformers, with gradients, and the encoder that a training makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_milvus.encoders.pretrained import quiet
from mm_milvus.encoders.source import Source, settings_files
from mm_milvus.errors import EncoderError, NotSupported

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mm_milvus.encoders.base import Encoder, Prepared

__all__ = ["Tower", "Trainable", "save_model", "trainable"]


@dataclass(frozen=True, eq=False)
class Tower:
    """One of the two models of an encoder, or its half of a joint one.

    ``features`` turns pictures or texts into (N, D) on the model's device, not normalised, and keeps the graph.
    ``probe`` is one such item, ``depth`` the number of layers by the config.
    """

    what: str  # "picture" or "text", for messages
    model: nn.Module
    depth: int
    features: Callable[[Sequence[Any]], Tensor]
    probe: Any

    def unfreeze(self, layers: int) -> dict[str, torch.nn.Parameter]:
        """The parameters of the last ``layers`` layers and of all that follows them, by name; they take gradients now.

        What follows is seen by running the model: final norms, poolers and projections are called and placed
        differently in each family. Parameters that the vectors do not depend on are left out.
        Raises NotSupported for a model without that many equal layers.
        """
        stack, later = self._passed()
        if layers > len(stack):
            raise NotSupported(
                f"the {self.what} model has {len(stack)} layers: --unfreeze {layers} is more than there are"
            )
        modules = [*stack[len(stack) - layers :], *later]
        chosen = {id(value) for module in modules for value in module.parameters()}
        named = {name: value for name, value in self.model.named_parameters() if id(value) in chosen}
        for value in named.values():
            value.requires_grad_(True)
        self.features([self.probe]).sum().backward()  # type: ignore[no-untyped-call]
        used = {name: value for name, value in named.items() if value.grad is not None}
        for name, value in named.items():
            value.requires_grad_(name in used)
            value.grad = None
        return used

    def _passed(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """The stack of layers, and the modules that are called for the first time once the last of them is done."""
        import torch

        called: list[nn.Module] = []
        with ExitStack() as hooks, torch.no_grad():
            for module in self.model.modules():
                hook = module.register_forward_pre_hook(lambda module, _: called.append(module))
                hooks.callback(hook.remove)
            self.features([self.probe])
        stack = self._stack({id(module) for module in called})
        within = {id(part) for layer in stack for part in layer.modules()}
        last = max(place for place, module in enumerate(called) if id(module) in within)
        before = {id(module) for module in called[: last + 1]}
        return stack, [module for module in called[last + 1 :] if id(module) not in before]

    def _stack(self, called: set[int]) -> list[nn.Module]:
        """The list of as many layers as the config names. Stages, which differ in width, are no layers."""
        from torch import nn

        for module in self.model.modules():
            if not isinstance(module, nn.ModuleList) or len(module) != self.depth:
                continue
            # The first layer of some models lacks a norm.
            shapes = {tuple(value.shape for value in layer.parameters()) for layer in module[1:]}
            if len(shapes) <= 1 and all(id(layer) in called for layer in module):
                return list(module)
        raise NotSupported(
            f"the {self.what} model, a {type(self.model).__name__}, has no transformer layers that could be unfrozen"
        )


@dataclass(frozen=True, eq=False)
class Trainable:
    """An encoder's two towers. The encoder itself gives what the training has made of them.

    ``prompts`` are put before product texts and before query texts. ``save`` writes the models into a folder, which
    is new; ``name`` is what loads them from such a folder. ``compact`` brings a prepared picture to the
    model's size.
    """

    image: Tower
    text: Tower
    prompts: tuple[str, str]
    save: Callable[[Path], None]
    name: Callable[[Path], str]
    compact: Callable[[Prepared], Prepared]

    def unfreeze(self, layers: int) -> dict[str, torch.nn.Parameter]:
        """The parameters that take gradients from now on, by "image." or "text." and their name in the model.

        Raises NotSupported, see ``Tower.unfreeze``.
        """
        towers = (("image", self.image), ("text", self.text))
        return {
            f"{side}.{name}": value
            for side, tower in towers
            for name, value in tower.unfreeze(layers).items()
        }


def trainable(encoder: Encoder) -> Trainable:
    """The towers of ``encoder``, which has to compute in float32. Raises NotSupported where it has none."""
    towers: Callable[[], Trainable] | None = getattr(encoder, "trainable", None)
    if towers is None:
        raise NotSupported(
            f"the encoder {encoder.spec.name!r} has no layers to unfreeze: ingest the catalog with a CLIP-type model "
            "or with towers:IMAGE+TEXT (see --encoder), or train without --unfreeze"
        )
    return towers()


def save_model(
    model: Any,
    source: Source,
    folder: Path,
    *,
    unused: tuple[str, ...] = (),
    extra: Mapping[str, str] | None = None,
) -> None:
    """The model as transformers saves it, beside the tokenizer, image processor and other settings of ``source``.

    ``unused`` are beginnings of parameter names that are left out: where the source lacked them they are random
    numbers. ``extra`` are further files, by name. Raises EncoderError when it cannot be written.
    """
    kept = {
        name: value for name, value in model.state_dict().items() if not name.startswith(unused or ("\0",))
    }
    try:
        folder.mkdir(parents=True)
        for name in settings_files(source.folder):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source.folder / name, folder / name)
        with quiet():
            model.save_pretrained(folder, state_dict=kept)
        for name, content in (extra or {}).items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise EncoderError(f"cannot write the trained encoder to {str(folder)!r}: {error}") from error
