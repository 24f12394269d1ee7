"""What operators ask: is it alive, may it take turns, what do its numbers say."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, PlainTextResponse, Response

from trunkline.endpoints.base import desk_of
from trunkline.endpoints.problems import PROBLEM_DETAILS, route_class

router = APIRouter(route_class=route_class(PROBLEM_DETAILS), tags=["operations"])


@router.get("/health", summary="Is it alive?", response_class=PlainTextResponse)
async def health() -> str:
    """Answer `OK` as long as the process answers at all."""
    return "OK"


@router.get("/ready", summary="May it take turns?", responses={503: {"description": "not now, and why"}})
async def ready(request: Request) -> Response:
    """Answer 200 while new turns are taken, else 503 with the reasons."""
    turns = desk_of(request).turns
    reasons = [fault] if (fault := turns.house.log.store.fault()) else []
    if turns.draining:
        reasons.append("shutting_down")
    if turns.open_count >= turns.limits.max_open_turns:
        reasons.append("too_many_turns")
    body = {"ready": not reasons, "reasons": reasons, "open_turns": turns.open_count}
    return JSONResponse(body, 503 if reasons else 200)


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Give all metrics in the Prometheus text format; they hold no text of any turn, and need no key."""
    return Response(desk_of(request).telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)
