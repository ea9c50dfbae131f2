"""Takes, renews and releases a lock through the client that openapi-generator has made for Python.

    PYTHONPATH=WHERE_IT_IS tests/openapi/generated.py PATH_OF_SIDELOCK

In: the package `sidelock_generated`. Out: an exit code. Never: a module of it that was not imported.
"""

import importlib
import os
import pkgutil
import sys
import tempfile

import sidelock_generated as generated
from server import Server

for module in pkgutil.walk_packages(generated.__path__, f"{generated.__name__}."):
    importlib.import_module(module.name)

with tempfile.TemporaryDirectory() as directory, Server(os.path.abspath(sys.argv[1]), directory) as server:
    at = generated.Configuration(host=f"http://127.0.0.1:{server.port}")
    with generated.ApiClient(at) as client:
        claims, locks = generated.ClaimsApi(client), generated.LocksApi(client)
        claim = claims.put_claim("c-7f3a", generated.ClaimRequest(lock="orders/42", ttl_ms=30_000))
        assert (claim.state, claim.locks[0].name) == ("granted", "orders/42"), claim
        assert claims.renew_claim("c-7f3a").revision > claim.revision
        lock = locks.get_lock("orders/42")
        assert lock.holders[0].token == claim.token, lock
        try:
            claims.put_claim("c-51bb", generated.ClaimRequest(lock="orders/42"))
            raise AssertionError("it was granted twice")
        except generated.ApiException as refused:
            assert refused.status == 409 and '"lock-held"' in refused.body, refused
        claims.release_claim("c-7f3a")
        assert locks.get_lock("orders/42").state == "free"
