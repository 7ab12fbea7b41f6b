//! Small apps for tests, on Python's own library: they build in no time.

/// A web server that tells its version, its environment, and what Redis says to it.
const TEACUP: &str = r#"
import http.server, json, os, socket

def redis(*words):
    "One command to the bound Redis, as its tenant, with nothing but a socket."
    commands = [("AUTH", os.environ["REDIS_USERNAME"], os.environ["REDIS_PASSWORD"]), words]
    with socket.create_connection((os.environ["REDIS_HOST"], int(os.environ["REDIS_PORT"])), timeout=5) as server:
        answers = server.makefile("rb")
        for command in commands:
            parts = [word.encode() for word in command]
            server.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
            answer = answers.readline().decode().strip()
        return answer

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            body = {"/env": lambda: json.dumps(dict(os.environ)),
                    "/incr": lambda: redis("INCR", os.environ.get("REDIS_PREFIX", "") + "visits"),
                    "/unit": lambda: socket.gethostname()}.get(self.path, lambda: "VERSION")()
            status = 200
        except Exception as reason:
            status, body = 503, f"{type(reason).__name__}: {reason}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        print("asked for", self.path, flush=True)

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// The teacup in a version of its own, with its Procfile.
#[must_use]
pub fn teacup(version: &str) -> Vec<(&'static str, String)> {
    vec![("teacup.py", TEACUP.replace("VERSION", version)), ("Procfile", "web: python3 -u teacup.py\n".to_owned())]
}
