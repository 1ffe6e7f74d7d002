"""Django in one file, served by ASGI: ``COLLECTOR_URL=… uvicorn examples.django_app:application``."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from eventpipe import AsyncClient
from eventpipe.integrations.django import RequestCapture, get_client, with_client
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")


async def signup(request: HttpRequest) -> HttpResponse:
    await get_client().capture("signed_up", distinct_id=request.POST["user"])
    return HttpResponse(status=204)


urlpatterns = [path("signup", signup)]

if not settings.configured:  # what is in settings.py of a project with more than one file
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["eventpipe.integrations.django.EventMiddleware"],
        EVENTPIPE={"CLIENT": AsyncClient(HttpSink(COLLECTOR)), "REQUESTS": RequestCapture()},
    )

application = with_client(get_asgi_application())  # in asgi.py
