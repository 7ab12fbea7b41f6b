"""The page: what was found out, as HTML. No input and no output here."""

import datetime
import hashlib
from dataclasses import dataclass
from html import escape

from services import MESSAGE_LENGTH, NAME_LENGTH, Missing


@dataclass
class Unit:
    """The copy of the app that answers."""

    name: str
    app: str
    version: str

    @property
    def hue(self):
        """A colour of its own, so that a change of unit can be seen."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:2], "big") % 360


@dataclass
class Draft:
    """A form that was sent and could not be kept."""

    complaint: str
    name: str
    message: str


def render(unit, visits, found, draft=None):
    """The whole page. `visits` and `found` are answers, or the `Missing` that came instead."""
    version = f" version {escape(unit.version)}" if unit.version else ""
    return f"""<!doctype html>
<html lang="en" style="--hue: {unit.hue}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Guestbook</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Guestbook</h1>
<p>Pushed with git, running in containers, bound to its services.</p>
</header>
<main>
<section class="facts">
{fact("answered by unit", f'<b class="unit"><i></i><code>{escape(unit.name)}</code></b>', "Reload: another one may answer.")}
{visits_fact(visits, unit)}
</section>
{form(draft)}
{entries(found, unit)}
</main>
<footer><code>{escape(unit.app)}</code>{version} &middot; <a href="/plain">the same as plain text</a></footer>
</body>
</html>
"""


def fact(label, value, remark):
    return f'<div class="card"><span>{label}</span>{value}<small>{remark}</small></div>'


def visits_fact(visits, unit):
    if isinstance(visits, Missing):
        return f'<div class="card"><span>visits</span>{hint(visits, unit, "redis")}</div>'
    return fact("visits", f"<b>{visits:,}</b>", "Counted in Redis, over all units.")


def form(draft):
    complaint = f'<p class="complaint" role="alert">{escape(draft.complaint)}</p>' if draft else ""
    name, message = (escape(draft.name), escape(draft.message)) if draft else ("", "")
    return f"""<form method="post" action="/">
{complaint}<div class="fields">
<input name="name" aria-label="Your name" placeholder="Your name" maxlength="{NAME_LENGTH}" value="{name}" autocomplete="name">
<input name="message" aria-label="Your message" placeholder="Say hello" maxlength="{MESSAGE_LENGTH}" value="{message}" autocomplete="off" required>
<button>Sign</button>
</div>
</form>"""


def entries(found, unit):
    if isinstance(found, Missing):
        return f'<div class="card">{hint(found, unit, "mysql")}</div>'
    latest, total = found
    if not latest:
        return '<p class="empty">Nobody has signed yet. Be the first.</p>'
    rest = f'<p class="empty">and {total - len(latest):,} older ones</p>' if total > len(latest) else ""
    return '<ol class="entries">' + "".join(map(entry, latest)) + "</ol>" + rest


def entry(one):
    return f"""
<li class="card"><p>{escape(one.message)}</p>
<small>{escape(one.name)} &middot; <time datetime="{one.at.isoformat()}Z">{ago(one.at)}</time></small></li>"""


def hint(missing, unit, service):
    """Why something is not there, and the command that brings it."""
    if missing.bound:
        return f"<p>{escape(str(missing))} It will be back here when it does.</p>"
    return f"<p>{escape(str(missing))} Bind one:</p><pre>tsuru service-bind {escape(unit.app)} {service}</pre>"


def total(found):
    """How many entries there are, for a terminal."""
    return found if isinstance(found, Missing) else found[1]


def ago(then):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    seconds = max(0, int((now - then).total_seconds()))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


STYLE = """
:root {
  --ink: #1d2329; --dim: #66717c; --paper: #f6f7f9; --card: #fff; --line: #e2e6ea;
  --accent: hsl(var(--hue) 64% 34%); --glow: hsl(var(--hue) 80% 55% / .16);
  font: 16px/1.55 system-ui, sans-serif; color: var(--ink);
  background: radial-gradient(70rem 24rem at 50% -10rem, var(--glow), transparent) no-repeat var(--paper);
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e8ebee; --dim: #97a2ad; --paper: #13171b; --card: #1b2126; --line: #2b333a;
    --accent: hsl(var(--hue) 65% 66%); --glow: hsl(var(--hue) 70% 60% / .2);
  }
}
* { box-sizing: border-box; margin: 0; }
body { max-width: 44rem; margin: 0 auto; padding: 3.5rem 1.25rem 2rem; }
header { margin-bottom: 2rem; }
h1 { font-size: 2.4rem; line-height: 1.1; letter-spacing: -.03em; }
header p, small, footer, .card > span, .empty { color: var(--dim); }
.card { padding: 1rem 1.25rem; background: var(--card); border: 1px solid var(--line); border-radius: .8rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem; }
.facts .card { display: flex; flex-direction: column; gap: .15rem; }
.card > span { font-size: .8rem; letter-spacing: .04em; }
.facts b { font-size: 1.75rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.unit { display: flex; align-items: center; gap: .6rem; min-width: 0; min-height: 2.36rem; color: var(--accent); }
.unit code { font-size: 1.15rem; overflow: hidden; text-overflow: ellipsis; }
.unit i { flex: none; width: .8rem; height: .8rem; border-radius: 50%; background: var(--accent); box-shadow: 0 0 0 .35rem var(--glow); margin-left: .35rem; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre { margin-top: .5rem; padding: .5rem .75rem; font-size: .85rem; background: var(--glow); border-radius: .5rem; overflow-x: auto; }
form { margin: 1.5rem 0; }
.fields { display: flex; flex-wrap: wrap; gap: .6rem; }
input, button { font: inherit; color: inherit; padding: .6rem .85rem; border: 1px solid var(--line); border-radius: .6rem; background: var(--card); }
input { flex: 1 1 9rem; min-width: 0; }
input[name=message] { flex: 3 1 16rem; }
input:focus-visible, button:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
button { border-color: transparent; background: var(--accent); color: var(--card); font-weight: 600; cursor: pointer; }
.complaint { margin-bottom: .6rem; font-weight: 600; color: var(--accent); }
.entries { list-style: none; padding: 0; display: grid; gap: .6rem; }
.entries p { overflow-wrap: anywhere; }
.empty { padding: .75rem 0; }
footer { margin-top: 2.5rem; font-size: .85rem; }
footer a { color: inherit; }
"""
