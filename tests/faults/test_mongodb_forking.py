"""A process that forks while its threads save: each child opens clients of its own and saves too."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from servers import MongoServer

from tests.docs.pages import ROOT

pytestmark = pytest.mark.once

PROGRAM = """
    import asyncio, itertools, os, signal, sys, threading, traceback, warnings
    sys.path.append("testproject")
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django
    django.setup()
    # Python 3.12 warns of any fork beside threads.
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)
    from django_multisession.engines.mongodb import SessionStore
    from tests.faults.mongodb_site import site

    def save(key, name, value):
        session = SessionStore(key)
        session[name] = value
        session.save()

    async def asave(key, name, value):
        session = SessionStore(key)
        await session.aset(name, value)
        await session.asave()

    with site(sys.argv[1], {"timeoutMS": 60000}):
        shared = SessionStore()
        shared["begun"] = True
        shared.save()
        key, is_over, saved = shared.session_key, threading.Event(), threading.Semaphore(0)

        def keep_saving(name):
            for value in itertools.count(1):
                save(key, name, value)
                saved.release()
                if is_over.is_set():
                    return

        async def keep_saving_in_tasks():
            while not is_over.is_set():
                await asave(key, "task", True)

        threads = [threading.Thread(target=keep_saving, args=(f"thread-{n}",)) for n in range(2)]
        threads.append(threading.Thread(target=asyncio.run, args=(keep_saving_in_tasks(),)))
        for thread in threads:
            thread.start()
        children = []
        for number in range(CHILDREN):
            # In the midst of one save or another.
            saved.acquire()
            child = os.fork()
            if child == 0:
                code = 1
                # What the loop of its parent was about to open or close is nobody's here.
                warnings.simplefilter("ignore", ResourceWarning)
                try:
                    # One that waits for a lock which a thread of its parent held waits for ever.
                    signal.alarm(90)
                    save(key, f"child-{number}", os.getpid())
                    asyncio.run(asave(key, f"async-child-{number}", os.getpid()))
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        is_over.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * CHILDREN, codes
        found = dict(SessionStore(key).items())
        for number, child in enumerate(children):
            assert found[f"child-{number}"] == found[f"async-child-{number}"] == child, found
        assert found["thread-0"] and found["thread-1"], found
"""


@pytest.mark.long
def test_children_forked_in_the_midst_of_saves_save_by_clients_of_their_own(
    mongodb_standalone: MongoServer,
) -> None:
    program = textwrap.dedent(PROGRAM).replace("CHILDREN", "5")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, mongodb_standalone.url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
