"""Policies and operator policies: ``/policies`` and ``/operator-policies``."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from pydantic import Field

from harebell.content.table import Table
from harebell.engine.policy_control import clear_policy, get_policy, list_policies, set_policy
from harebell.engine.vhost import Vhost
from harebell.errors import BrokerError
from harebell.management.answers import JSON, Answer, no_content, put
from harebell.management.bodies import Body, missing
from harebell.management.calls import Call
from harebell.management.errors import bad_request, not_authorised, not_found, unsupported_media_type
from harebell.management.listing import answer_list, answer_object
from harebell.management.resources.places import NO_OBJECT_ACCESS
from harebell.management.routing import Right, Route


class PolicyBody(Body):
    """A policy; what is wrong with it is said all at once."""

    pattern: Any = Field(description="regular expression on names")
    definition: Any = Field(description="value by policy key")
    priority: Any = Field(default=0, description="the highest of those that match applies")
    apply_to: Any = Field(
        default="all",
        alias="apply-to",
        description="all, exchanges, queues, classic_queues, quorum_queues or streams",
    )


def policymaker(call: Call) -> None:
    """Check that the user may set policies and parameters.

    Raises:
        HttpError: 401 in RabbitMQ's words.
    """
    call.require(Right.POLICYMAKER, NO_OBJECT_ACCESS)


def policymaker_vhost(call: Call) -> Vhost:
    """Give the virtual host of the path, in which the user must be one who sets policies.

    Raises:
        HttpError: 404 if there is none; 401.
    """
    policymaker(call)
    if call.path["vhost"] in call.admin.broker.vhosts and not call.sees(call.path["vhost"]):
        raise not_authorised(NO_OBJECT_ACCESS)
    return call.vhost()


def need_json(call: Call) -> None:
    """Check that the body says it is JSON, where RabbitMQ insists.

    Raises:
        HttpError: 415.
    """
    if call.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise unsupported_media_type()


def escaped(error: BrokerError) -> Exception:
    """Give a refusal as RabbitMQ words it here: ready to be put into a page."""
    if "Validation failed" not in error.text:
        return error
    return bad_request(escape(error.text, quote=False))


async def policies(call: Call) -> Answer:
    """List the policies."""
    return await _list(call, False)


async def operator_policies(call: Call) -> Answer:
    """List the operator policies."""
    return await _list(call, True)


async def _list(call: Call, operator: bool) -> Answer:
    vhosts = [call.vhost()] if "vhost" in call.path else call.visible_vhosts()
    broker = call.admin.broker
    found = [row for vhost in vhosts for row in list_policies(broker, vhost.name, operator=operator)]
    return await answer_list(call, found, lambda row: row, paged=False)


async def policy(call: Call) -> Answer:
    """Show a policy."""
    vhost = policymaker_vhost(call)
    return answer_object(call, get_policy(call.admin.broker, vhost.name, call.path["name"]))


async def operator_policy(call: Call) -> Answer:
    """Show an operator policy."""
    vhost = call.vhost()
    return answer_object(call, get_policy(call.admin.broker, vhost.name, call.path["name"], operator=True))


async def put_policy(call: Call) -> Answer:
    """Set a policy."""
    vhost = policymaker_vhost(call)
    try:
        return await _put(call, vhost, False)
    except BrokerError as error:
        raise escaped(error) from None


async def put_operator_policy(call: Call) -> Answer:
    """Set an operator policy."""
    vhost = call.vhost()
    need_json(call)
    return await _put(call, vhost, True)


async def _put(call: Call, vhost: Vhost, operator: bool) -> Answer:
    fields: Table = call.json_object()
    missing(fields, ("pattern", "definition"))
    name = call.path["name"]
    existed = vhost.policies.kind(operator).get(name) is not None
    call.detail["definition"] = fields["definition"]
    lsn = set_policy(
        call.admin.broker,
        vhost.name,
        name,
        fields["pattern"],
        fields["definition"],
        priority=fields.get("priority", 0),
        apply_to=fields.get("apply-to", "all"),
        operator=operator,
    )
    await call.committed(lsn)
    return put(existed)


async def delete_policy(call: Call) -> Answer:
    """Remove a policy."""
    return await _delete(call, policymaker_vhost(call), False)


async def delete_operator_policy(call: Call) -> Answer:
    """Remove an operator policy."""
    return await _delete(call, call.vhost(), True)


async def _delete(call: Call, vhost: Vhost, operator: bool) -> Answer:
    if vhost.policies.kind(operator).get(call.path["name"]) is None:
        raise not_found()
    await call.committed(clear_policy(call.admin.broker, vhost.name, call.path["name"], operator=operator))
    return no_content()


_POLICY: Final = "/policies/{vhost}/{name}"
_OPERATOR: Final = "/operator-policies/{vhost}/{name}"
_ALL: Final = Right.ADMINISTRATOR

ROUTES: Final = (
    Route("GET", "/policies", policies),
    Route("GET", "/policies/{vhost}", policies),
    Route("GET", _POLICY, policy),
    Route("PUT", _POLICY, put_policy, body=PolicyBody, action="policy.set"),
    Route("DELETE", _POLICY, delete_policy, action="policy.cleared"),
    Route("GET", "/operator-policies", operator_policies),
    Route("GET", "/operator-policies/{vhost}", operator_policies),
    Route("GET", _OPERATOR, operator_policy, _ALL),
    Route("PUT", _OPERATOR, put_operator_policy, _ALL, PolicyBody, "operator-policy.set"),
    Route("DELETE", _OPERATOR, delete_operator_policy, _ALL, action="operator-policy.cleared"),
)
