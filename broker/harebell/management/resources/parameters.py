"""Parameters of components and of the node: ``/parameters`` and ``/global-parameters``."""

from __future__ import annotations

from typing import Any, Final

from harebell.administration.parameters import (
    GLOBAL,
    clear_global_parameter,
    clear_parameter,
    get_global_parameter,
    get_parameter,
    list_global_parameters,
    list_parameters,
    parameter_value,
    set_global_parameter,
    set_parameter,
)
from harebell.engine.metadata import SCHEDULE
from harebell.errors import BrokerError
from harebell.management.answers import Answer, no_content, put
from harebell.management.bodies import Body, missing
from harebell.management.calls import Call
from harebell.management.listing import answer_list, answer_object
from harebell.management.resources.policies import escaped, policymaker, policymaker_vhost
from harebell.management.routing import Route


class ParameterBody(Body):
    """A parameter."""

    value: Any


async def parameters(call: Call) -> Answer:
    """List the parameters, of one component, or of one virtual host."""
    policymaker(call)
    vhosts = [policymaker_vhost(call)] if "vhost" in call.path else call.visible_vhosts()
    component = call.path.get("component")
    found = [row for vhost in vhosts for row in list_parameters(call.admin, component, vhost.name)]
    return await answer_list(call, found, lambda row: row, paged=False)


async def parameter(call: Call) -> Answer:
    """Show a parameter."""
    vhost = policymaker_vhost(call)
    return answer_object(
        call, get_parameter(call.admin, vhost.name, call.path["component"], call.path["name"])
    )


async def put_parameter(call: Call) -> Answer:
    """Set a parameter of a component, such as ``shovel`` or ``federation-upstream``."""
    vhost = policymaker_vhost(call)
    fields = call.json_object()
    missing(fields, ("value",))
    component, name = call.path["component"], call.path["name"]
    existed = parameter_value(call.admin, vhost, component, name) is not None
    value = fields["value"]
    if component == SCHEDULE and isinstance(value, dict):
        # What the node publishes for somebody, that one must be allowed to publish.
        call.caller(vhost).require("write", "exchange", str(value.get("exchange", "")))
    try:
        lsn = set_parameter(call.admin, vhost.name, component, name, value)
    except BrokerError as error:
        raise escaped(error) from None
    await call.committed(lsn)
    return put(existed)


async def delete_parameter(call: Call) -> Answer:
    """Remove a parameter of a component."""
    vhost = policymaker_vhost(call)
    await call.committed(clear_parameter(call.admin, vhost.name, call.path["component"], call.path["name"]))
    return no_content()


async def global_parameters(call: Call) -> Answer:
    """List the global parameters."""
    policymaker(call)
    return await answer_list(call, list_global_parameters(call.admin), lambda row: row, paged=False)


async def global_parameter(call: Call) -> Answer:
    """Show a global parameter."""
    policymaker(call)
    return answer_object(call, get_global_parameter(call.admin, call.path["name"]))


async def put_global_parameter(call: Call) -> Answer:
    """Set a global parameter."""
    policymaker(call)
    fields = call.json_object()
    missing(fields, ("value",))
    name = call.path["name"]
    existed = (*GLOBAL, name) in call.admin.broker.parameters
    await call.committed(set_global_parameter(call.admin, name, fields["value"]))
    return put(existed)


async def delete_global_parameter(call: Call) -> Answer:
    """Remove a global parameter."""
    policymaker(call)
    await call.committed(clear_global_parameter(call.admin, call.path["name"]))
    return no_content()


_PARAMETER: Final = "/parameters/{component}/{vhost}/{name}"
_GLOBAL: Final = "/global-parameters/{name}"

ROUTES: Final = (
    Route("GET", "/parameters", parameters),
    Route("GET", "/parameters/{component}", parameters),
    Route("GET", "/parameters/{component}/{vhost}", parameters),
    Route("GET", _PARAMETER, parameter),
    Route("PUT", _PARAMETER, put_parameter, body=ParameterBody, action="parameter.set"),
    Route("DELETE", _PARAMETER, delete_parameter, action="parameter.cleared"),
    Route("GET", "/global-parameters", global_parameters),
    Route("GET", _GLOBAL, global_parameter),
    Route("PUT", _GLOBAL, put_global_parameter, body=ParameterBody, action="global-parameter.set"),
    Route("DELETE", _GLOBAL, delete_global_parameter, action="global-parameter.cleared"),
)
