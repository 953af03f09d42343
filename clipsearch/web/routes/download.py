"""Several photos as one file."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from clipsearch.web import forms
from clipsearch.web.backend import OfApp
from clipsearch.web.errors import BYTES, RESPONSES
from clipsearch.web.sending.head import BODILESS
from clipsearch.web.sending.zipped import NAME, zipped

router = APIRouter(responses=RESPONSES, tags=["photos"])


@router.get(
    "/api/zip", response_class=Response, responses={200: {"content": {"application/zip": BYTES}}}
)
async def download(
    request: Request, asked: Annotated[forms.ZipForm, Query()], backend: OfApp
) -> Response:
    """The files of some photos as they are, in one zip; what cannot be read is told in it."""
    photos = [await backend.stored(id) for id in dict.fromkeys(asked.id)]
    headers = {
        "Content-Disposition": f'attachment; filename="{NAME}"', "Cache-Control": "no-store",
    }  # fmt: skip
    content = () if request.scope.get(BODILESS) else zipped(photos)
    return StreamingResponse(content, headers=headers, media_type="application/zip")
