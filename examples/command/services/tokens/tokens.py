#!/usr/bin/env python3
"""Hands out tokens for an API: each instance an API, each binding a token. A gateway finds a token's hash in
tokens.db, in the folder TOKENS_ROOT. The operations are links to this file and are told apart by their names."""

import hashlib
import json
import os
import sqlite3
import sys

BAD_REQUEST, TRY_AGAIN = 65, 75


def main(operation, request):
    root = os.environ.get("TOKENS_ROOT", "tokens")
    os.makedirs(root, mode=0o750, exist_ok=True)
    database = sqlite3.connect(os.path.join(root, "tokens.db"), timeout=5)
    try:
        # One transaction for each operation: a crash leaves all of it or nothing.
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS apis (id TEXT PRIMARY KEY, scopes TEXT NOT NULL)")
            database.execute(
                "CREATE TABLE IF NOT EXISTS tokens (id TEXT PRIMARY KEY, api TEXT NOT NULL, hash TEXT NOT NULL)"
            )
            return OPERATIONS[operation](database, request)
    finally:
        database.close()


def provision(database, request, wishes="instance"):
    scopes = request[wishes]["parameters"].get("scopes", ["read"])
    if not scopes:
        print("a token that may do nothing is of no use, name at least one scope")
        sys.exit(BAD_REQUEST)
    row = (request["instance"]["id"], " ".join(scopes))
    database.execute("INSERT INTO apis VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET scopes = excluded.scopes", row)
    return {"scopes": scopes}


def update(database, request):
    return provision(database, request, wishes="to")


def bind(database, request):
    binding, api = request["binding"], request["instance"]["id"]
    digest = hashlib.sha256(binding["secret"].encode()).hexdigest()
    database.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?)", (binding["id"], api, digest))
    print(f"token {binding['id']} was issued", file=sys.stderr)
    return {"API_ID": api, "API_TOKEN": binding["secret"]}


def unbind(database, request):
    database.execute("DELETE FROM tokens WHERE id = ?", (request["binding"]["id"],))


def deprovision(database, request):
    api = (request["instance"]["id"],)
    database.execute("DELETE FROM tokens WHERE api = ?", api)
    database.execute("DELETE FROM apis WHERE id = ?", api)


def status(database, request):
    found = database.execute("SELECT 1 FROM apis WHERE id = ?", (request["instance"]["id"],)).fetchone()
    return {"up": True} if found else {"up": False, "text": "it is not in the database of tokens"}


def info(database, request):
    api = (request["instance"]["id"],)
    (tokens,) = database.execute("SELECT count(*) FROM tokens WHERE api = ?", api).fetchone()
    return {"API": api[0], "Tokens": str(tokens), "Scopes": " ".join(request["instance"]["notes"].get("scopes", []))}


OPERATIONS = {f.__name__: f for f in (provision, bind, unbind, update, deprovision, status, info)}

if __name__ == "__main__":
    try:
        answer = main(os.path.basename(sys.argv[0]), json.load(sys.stdin))
    except sqlite3.OperationalError as busy:
        print(f"the database of tokens: {busy}", file=sys.stderr)
        sys.exit(TRY_AGAIN)
    if answer is not None:
        json.dump(answer, sys.stdout)
