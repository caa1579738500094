"""What all settings share: frozen values with a dictionary form for checkpoints."""

import difflib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Self

from anchorface.records import ConfigurationError
from anchorface.records.bounds import AMOUNT, SIZE_OR_NONE, check


class Settings:
    """Dictionary form shared by the settings: nested values become dictionaries, tuples become lists and back."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The value back from `to_dict` or JSON.

        Raises:
            ConfigurationError: an unknown key, a missing one, or values that do not fit together.
        """
        known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        arguments: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3)
                hint = f"; did you mean {', '.join(near)}?" if near else f"; known are {', '.join(known)}"
                raise ConfigurationError(f"{cls.__name__}: unknown key {name!r}{hint}")
            nested = known[name].type
            if isinstance(nested, type) and issubclass(nested, Settings) and isinstance(value, dict):
                value = nested.from_dict(value)
            arguments[name] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**arguments)
        except TypeError as error:
            raise ConfigurationError(f"{cls.__name__}: {error}") from error


def require(condition: bool, text: str) -> None:
    """Raise ConfigurationError with this text unless the condition holds."""
    if not condition:
        raise ConfigurationError(text)


def choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ConfigurationError unless the value is one of the known ones."""
    require(value in known, f"{name} is {value!r}; it must be one of {', '.join(known)}")


def descendants(kind: type[Any]) -> Iterator[type[Any]]:
    """The imported classes below one, at any depth."""
    for below in kind.__subclasses__():
        yield below
        yield from descendants(below)


@dataclass(frozen=True, kw_only=True)
class SystemSettings(Settings):
    """What shapes one system: the base of each system's own settings.

    kind: the system's name, a default that nobody changes; checkpoints carry it. identity_dimension: numbers of the
    face embedding that it takes, 0 if it takes none. lora_rank (0: none), lora_alpha: of the LoRA in the backbone.
    degraded_time, reference_time, reference_step: t of the position ids of the degraded segment, of the first
    reference, and from one reference to the next (models.tokens). full: the backbone's own weights are trained as well;
    a checkpoint then holds them among the adapters.
    """

    kind: str
    identity_dimension: Annotated[int, SIZE_OR_NONE] = 0
    lora_rank: Annotated[int, SIZE_OR_NONE] = 0
    lora_alpha: Annotated[float, AMOUNT] = 16.0
    degraded_time: Annotated[int, SIZE_OR_NONE] = 2
    reference_time: Annotated[int, SIZE_OR_NONE] = 10
    reference_step: Annotated[int, SIZE_OR_NONE] = 1
    full: bool = False

    def __post_init__(self) -> None:
        own = type(self).own_kind()
        require(self.kind == own, f"kind {self.kind!r}: the settings are those of {own!r}; choose another recipe")
        check(self, "model.system.")

    @property
    def face_shape(self) -> tuple[int, int]:
        """Tokens and numbers of each that the system reads of a face-image encoder; 0, 0 if it reads none."""
        return 0, 0

    @property
    def shared_noise(self) -> float:
        """How much of their noise the frames of a clip share, 0 to 1 (models.sampler.normal)."""
        return 0.0

    @property
    def hears_attributes(self) -> bool:
        """Whether it reads attributes (records.attributes)."""
        return False

    @property
    def reads_prompts(self) -> int:
        """Numbers of the text encoder's embeddings that its attributes start at; 0 if they start at random."""
        return 0

    @property
    def concatenates(self) -> bool:
        """Whether the references' tokens stand in its sequence."""
        return True

    @property
    def scales(self) -> tuple[float, float] | None:
        """s_i and s_c of multi-reference guidance where a sampler is told no others; None: references are shown all at
        once, without it.
        """
        return None

    @classmethod
    def own_kind(cls) -> str:
        """The name of the system that this class is of."""
        return str(next(entry.default for entry in fields(cls) if entry.name == "kind"))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The settings back; asked of this base, the `kind` in them says which imported system's they are.

        Raises:
            ConfigurationError: no such system, or values that do not fit it.
        """
        if cls is not SystemSettings:
            return super().from_dict(values)
        known = {system.own_kind(): system for system in descendants(cls)}
        kind = str(values.get("kind"))
        require(kind in known, f"unknown system {kind!r}; known are {', '.join(sorted(known))}")
        return known[kind].from_dict(values)  # type: ignore[return-value]
