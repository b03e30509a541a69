"""How a graph is quantised, in words that do not depend on the runtime."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Recipe:
    """One way of quantising a network to int8.

    Attributes
    ----------
    activations : {'symmetric', 'asymmetric'}
        Whether the ranges of activations are centred on zero. Weights always are, with one scale
        per output channel.
    rest : {'fp32', 'bf16'}
        Precision of the layers that are not quantised.
    bias : {'accurate', 'fast'}
        How NNCF corrects the biases for what rounding does to the means: by running the layers
        one after the other, or from statistics gathered once.
    kept : tuple of str
        Nodes of the graph that are left out of the quantisation, by name.
    rewrites : tuple of str
        Rewrites of the graph before it is quantised.
    """

    activations: Literal["symmetric", "asymmetric"]
    rest: Literal["fp32", "bf16"] = "fp32"
    bias: Literal["accurate", "fast"] = "accurate"
    kept: tuple[str, ...] = ()
    rewrites: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"kept": list(self.kept), "rewrites": list(self.rewrites)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        """Return the recipe that :meth:`to_json` described.

        Examples
        --------
        >>> recipe = Recipe("symmetric", kept=("/conv1",))
        >>> Recipe.from_json(recipe.to_json()) == recipe
        True
        """
        lists = {name: tuple(values[name]) for name in ("kept", "rewrites")}
        return cls(**(values | lists))

    def title(self) -> str:
        """Return a few words for a table.

        Examples
        --------
        >>> Recipe("symmetric", kept=("a", "b")).title()
        'symmetric activations, 2 layers kept in fp32'
        """
        words = f"{self.activations} activations"
        if self.kept:
            layers = "layer" if len(self.kept) == 1 else "layers"
            return f"{words}, {len(self.kept)} {layers} kept in {self.rest}"
        return f"{words}, the rest in {self.rest}" if self.rest != "fp32" else words
