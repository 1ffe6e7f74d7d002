"""Django in one file, served by WSGI: ``COLLECTOR_URL=… gunicorn examples.django_wsgi_app:application``."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from eventpipe import SyncClient
from eventpipe.integrations.django import RequestCapture, get_sync_client
from eventpipe.sinks import HttpSink

COLLECTOR = os.environ.get("COLLECTOR_URL", "http://127.0.0.1:8000/events")


def signup(request: HttpRequest) -> HttpResponse:
    get_sync_client().capture("signed_up", distinct_id=request.POST["user"])
    return HttpResponse(status=204)


urlpatterns = [path("signup", signup)]

if not settings.configured:  # what is in settings.py of a project with more than one file
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["eventpipe.integrations.django.EventMiddleware"],
        EVENTPIPE={"CLIENT": SyncClient(HttpSink(COLLECTOR)), "REQUESTS": RequestCapture()},
    )

application = get_wsgi_application()
