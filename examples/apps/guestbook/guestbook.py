"""A guestbook: the smallest app that uses everything the platform has to offer.

Visits are counted in Redis, entries are kept in MySQL, and the page says which unit answered.
`app` is a WSGI application; `Procfile` says how it is served.
"""

import os
import socket
import urllib.parse

import page
from services import MESSAGE_LENGTH, NAME_LENGTH, Entries, Missing, Visits

LARGEST_FORM = 8 * 1024

unit = page.Unit(
    name=socket.gethostname(),
    app=os.environ.get("TSURU_APPNAME", "guestbook"),
    version=os.environ.get("TSURU_APPVERSION", ""),
)
visits = Visits()
entries = Entries()


def app(environ, start_response):
    """Finds who answers the request, and turns the answer into WSGI's form."""
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
    asked = "GET" if method == "HEAD" else method
    handler = ROUTES.get((asked, path), not_found)
    status, headers, body = handler(environ)
    body = body.encode()
    headers = [("Content-Length", str(len(body))), *COMMON_HEADERS, *headers]
    start_response(status, headers)
    return [] if method == "HEAD" else [body]


def show(_environ):
    """The page."""
    return html("200 OK", page.render(unit, visit(), read()))


def sign(environ):
    """A new entry: back to the page when it is written, the form again when it can't be."""
    form = read_form(environ)
    name = tidy(form.get("name", ""), NAME_LENGTH) or "Somebody"
    message = tidy(form.get("message", ""), MESSAGE_LENGTH)
    if not message:
        return again("422 Unprocessable Content", "Write something first.", name, message)
    try:
        entries.add(name, message)
    except Missing as missing:
        return again("503 Service Unavailable", f"{missing} Your words were not kept.", name, message)
    return "303 See Other", [("Location", "/")], ""


def again(status, complaint, name, message):
    """The page with the form as it was filled in, and what is wrong with it."""
    return html(status, page.render(unit, seen(), read(), page.Draft(complaint, name, message)))


def plain(_environ):
    """The page for a terminal: one thing a line."""
    lines = [f"unit: {unit.name}", f"visits: {visit()}", f"entries: {page.total(read())}"]
    return "200 OK", [("Content-Type", "text/plain; charset=utf-8")], "\n".join(lines) + "\n"


def healthz(_environ):
    """Whether this unit can answer. It asks no service."""
    return "200 OK", [("Content-Type", "text/plain; charset=utf-8")], "ok\n"


def not_found(environ):
    """Everything else."""
    known = sorted(method for method, path in ROUTES if path == environ.get("PATH_INFO", "/"))
    text = [("Content-Type", "text/plain; charset=utf-8")]
    if known:
        return "405 Method Not Allowed", [("Allow", ", ".join(known)), *text], "try another method\n"
    return "404 Not Found", text, "there is nothing here, try /\n"


ROUTES = {
    ("GET", "/"): show,
    ("POST", "/"): sign,
    ("GET", "/plain"): plain,
    ("GET", "/healthz"): healthz,
}

# The page brings its own style and asks for nothing else, so nothing else is allowed.
COMMON_HEADERS = [
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Unit", unit.name),
]


def html(status, body):
    return status, [("Content-Type", "text/html; charset=utf-8")], body


def visit():
    """One visit more: how many there were, or why that can't be said."""
    return attempt(visits.count)


def seen():
    """How many visits there were, without counting one."""
    return attempt(visits.total)


def read():
    """The latest entries and how many there are, or why that can't be said."""
    return attempt(entries.latest)


def attempt(ask):
    try:
        return ask()
    except Missing as missing:
        return missing


def read_form(environ):
    """The first value of each field; a form that is too large or not a form has none."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if not 0 < length <= LARGEST_FORM:
            return {}
        text = environ["wsgi.input"].read(length).decode("utf-8", errors="replace")
        fields = urllib.parse.parse_qs(text, max_num_fields=10, errors="replace")
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def tidy(text, longest):
    """One line of printable characters, cut to what its column holds."""
    words = "".join(letter if letter.isprintable() else " " for letter in text).split()
    return " ".join(words)[:longest].strip()
