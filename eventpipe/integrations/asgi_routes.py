"""The template of the route that a request took, from what ASGI frameworks leave in its scope; never its path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from eventpipe.encoding.foreign import contained

# Where an application, or a framework that leaves nothing, may say it: the template as it stands, prefixes included.
ROUTE_KEY: Final = "eventpipe.route"

_NONE, _FULL = 0, 2  # starlette.routing.Match, which is not imported: any of the frameworks may be missing
_REST = "/{path}"  # how Starlette ends the template of whatever is mounted


def route_of(scope: Mapping[str, Any], path: str) -> str | None:  # Any: as ASGI has it
    """The template of a request that has been routed, or ``None``: none was found, or the framework is unknown.

    Args:
        scope: As the application left it.
        path: As it was in the scope before; frameworks below a mount may cut it.
    """
    found = contained(_route_of, scope, path)
    return found if isinstance(found, str) else None


def _route_of(scope: Mapping[str, Any], path: str) -> str | None:
    said: str | None = scope.get(ROUTE_KEY)
    if said is not None:
        return said
    leaf = _leaf_of(scope)
    root = scope.get("root_path", "")
    top = scope.get("app_root_path", root)
    if leaf is not None and root == top:
        return leaf
    # Below a mount, whose own part of the path is in the scope only as the client wrote it; or at a route that
    # FastAPI does not leave there, such as that of its documentation.
    if "endpoint" not in scope:
        return leaf
    start = {**scope, "path": path, "root_path": top, "path_params": {}, "fastapi": {}}
    return _walk(scope["router"].routes, start, root, leaf)


def _leaf_of(scope: Mapping[str, Any]) -> str | None:
    """The template as the innermost router has it."""
    route = scope.get("route")
    if route is None or hasattr(route, "routes"):  # the latter is a mount, and what is mounted has found nothing
        return scope.get("path_template") or None  # Litestar; empty where it has mounted an application
    included = scope.get("fastapi", {}).get("effective_route_context")  # a route of an included router, and its prefix
    if included is not None and included.original_route is route:
        route = included
    return _template_of(route)


def _template_of(route: Any) -> str | None:  # Any: a route of Starlette or FastAPI, of any version
    template: str | None = getattr(route, "path_format", None) or getattr(route, "path", None)
    return template


def _walk(routes: Iterable[Any], scope: dict[str, Any], root: str, leaf: str | None) -> str | None:
    """Go the way that the routers went, as far as mounts lead; with no ``leaf``, to the very route."""
    partial: str | None = None
    for route in _flat(routes):
        below = getattr(route, "routes", None)
        if below is None and leaf is not None:
            continue
        match, more = route.matches(scope)
        if match.value == _NONE:
            continue
        if below is None:
            if match.value == _FULL:
                return _template_of(route)
            partial = partial or _template_of(route)
            continue
        template = _template_of(route)
        is_mount = template is not None and template.endswith(_REST)
        prefix = template.removesuffix(_REST) if template is not None and is_mount else ""
        inside = {**scope, **more}
        if leaf is not None and is_mount and inside["root_path"] == root:
            return prefix + leaf
        found = _walk(below, inside, root, leaf)
        if found is not None:
            return prefix + found
        if leaf is None and is_mount:
            return prefix + _REST
    return partial


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    """Routes, with those of the routers that FastAPI includes in their place."""
    for route in routes:
        included = getattr(route, "effective_route_contexts", None)
        if included is None:
            yield route
            continue
        for context in included():
            yield getattr(context, "starlette_route", None) or context
