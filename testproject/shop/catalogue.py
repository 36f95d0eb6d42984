"""What the shop sells, and what a cart of it comes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Something to put into the cart.

    Attributes:
        sku: Its name in the session.
        title: Its name on the page.
        note: One line about it.
        price: In euros.
    """

    sku: str
    title: str
    note: str
    price: Decimal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One product of a cart."""

    product: Product
    count: int

    @property
    def price(self) -> Decimal:
        """Return what this line comes to."""
        return self.product.price * self.count


PRODUCTS = {
    product.sku: product
    for product in (
        Product(sku="notebook", title="Notebook", note="A5, dotted", price=Decimal("9.50")),
        Product(sku="pencil", title="Pencil", note="HB, cedar", price=Decimal("1.20")),
        Product(sku="ink", title="Ink", note="Blue-black, 30 ml", price=Decimal("7.90")),
    )
}


def cart_lines(cart: Mapping[str, int]) -> list[Line]:
    """Return the lines of the *cart* that a session holds, as SKU → count."""
    return [
        Line(product=product, count=cart[sku]) for sku, product in PRODUCTS.items() if sku in cart
    ]


def total(lines: list[Line]) -> Decimal:
    """Return what the cart comes to."""
    return sum((line.price for line in lines), Decimal(0))
