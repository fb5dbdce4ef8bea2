"""The example of groups and filters keeps every customer's orders in order."""

from __future__ import annotations

from examples.lanes import ORDERS, main
from harebell import Broker


async def test_orders_of_a_customer_are_done_in_order() -> None:
    async with Broker() as broker:
        done = await main(broker.url)
    assert sorted(order for _, order in done) == sorted(ORDERS)
    for customer in ("ann", "bob", "cid"):
        mine = [order for _, order in done if order.startswith(customer)]
        assert mine == [order for order in ORDERS if order.startswith(customer)]
