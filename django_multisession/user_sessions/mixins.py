"""What class-based views are made of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponseBase
from django.views import View

from django_multisession.decorators import arefusal, refusal, require_age


class RecentlyAuthenticatedMixin(View):
    """A class-based view, sync or async, only for a user who authenticated lately.

    It does what `recently_authenticated` does for functions. Put it before the other bases.

    Attributes:
        authenticated_within: How long an authentication is good for.
    """

    authenticated_within: ClassVar[timedelta] = timedelta(minutes=5)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        require_age(cls.authenticated_within)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """See View.dispatch()."""
        if self.view_is_async:
            return self._adispatch(request, *args, **kwargs)
        refused = refusal(request, self.authenticated_within)
        return refused or super().dispatch(request, *args, **kwargs)

    async def _adispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        refused = await arefusal(request, self.authenticated_within)
        if refused is not None:
            return refused
        answer: Any = super().dispatch(request, *args, **kwargs)
        # The answer to a method that the view doesn't have isn't awaited by Django 5.2.
        response: HttpResponseBase = await answer if hasattr(answer, "__await__") else answer
        return response
