"""The ways to answer a degraded face that a table compares.

Conditions: the truth itself, the degraded input, what the autoencoder alone keeps of the truth, and the restorer
without references, with one and with all (up to three), each as a sample and as the one-step mean estimate; and with
another person's references, which should not make the picture that person's.
"""

from dataclasses import dataclass

from anchorface.records import ConfigurationError

WHOSE = ("own", "stranger")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way to answer a degraded face.

    kind: `truth`, `degraded`, `autoencoder` or `restored`. references: how many are shown at most. whose: the person's
    `own`, or those of a `stranger`: the next picture's in the protocol that shows another person.
    fidelity: 0 = sample, 1 = mean estimate.
    """

    slug: str
    label: str
    kind: str
    references: int = 0
    fidelity: float = 0.0
    whose: str = "own"

    def __post_init__(self) -> None:
        if self.whose not in WHOSE:
            raise ConfigurationError(f"condition {self.slug}: references of {self.whose!r}; known: {', '.join(WHOSE)}")


CONDITIONS: tuple[Condition, ...] = (
    Condition(slug="truth", label="the truth itself", kind="truth"),
    Condition(slug="autoencoder", label="the truth through the autoencoder", kind="autoencoder"),
    Condition(slug="degraded", label="degraded input", kind="degraded"),
    Condition(slug="without", label="without references", kind="restored"),
    Condition(slug="without_mean", label="without references, mean estimate", kind="restored", fidelity=1.0),
    Condition(slug="one", label="with one reference", kind="restored", references=1),
    Condition(slug="one_mean", label="with one reference, mean estimate", kind="restored", references=1, fidelity=1.0),
    Condition(slug="three", label="with three references", kind="restored", references=3),
    Condition(slug="three_mean", label="with three references, mean estimate", kind="restored", references=3,
              fidelity=1.0),
    Condition(slug="stranger", label="with three references of another person", kind="restored", references=3,
              whose="stranger"),
)
