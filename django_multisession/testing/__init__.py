"""The laws of a driver and of an engine, for whoever writes one. Needs pytest.

::

    class TestMyDriver(DriverContract):
        @pytest.fixture
        def driver(self):
            return MyDriver(...)


    class TestMyEngine(EngineContract):
        @pytest.fixture
        def session_store(self):
            return my_engine.SessionStore

Every law runs through the sync verbs and through their a-twins.
"""

from __future__ import annotations

from django_multisession.testing.driver.contract import DriverContract
from django_multisession.testing.driver.race_contract import DriverRaceContract
from django_multisession.testing.driver.step_laws import DriverStepMoveContract
from django_multisession.testing.engine.contract import EngineContract
from django_multisession.testing.engine.expiry_contract import EngineExpiryContract
from django_multisession.testing.interleaving.contract import InterleavingContract
from django_multisession.testing.verbs import Clock, DriverVerbs, SessionVerbs

__all__ = [
    "Clock",
    "DriverContract",
    "DriverRaceContract",
    "DriverStepMoveContract",
    "DriverVerbs",
    "EngineContract",
    "EngineExpiryContract",
    "InterleavingContract",
    "SessionVerbs",
]
