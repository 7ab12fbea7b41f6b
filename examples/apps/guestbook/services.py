"""What the guestbook keeps, and where: visits in Redis, entries in MySQL.

Both find their server through the environment variables that a bind brings. Each call has a
timeout and ends in one of two ways: an answer, or `Missing`, which says in a sentence what the
page can do about it. Connections are kept, checked before use and made anew when they broke.
"""

import datetime
import os
import queue
from dataclasses import dataclass

import pymysql
import redis

NAME_LENGTH = 40
MESSAGE_LENGTH = 280
LATEST = 50


class Missing(Exception):
    """The service is not bound, or does not answer."""

    def __init__(self, sentence, bound):
        super().__init__(sentence)
        self.bound = bound


class Visits:
    """A counter in Redis, shared by all units."""

    def __init__(self, env=os.environ):
        self._key = env.get("REDIS_PREFIX", "") + "visits"
        self._redis = None
        if "REDIS_HOST" in env:
            self._redis = redis.Redis(
                host=env["REDIS_HOST"],
                port=int(env.get("REDIS_PORT", "6379")),
                username=env.get("REDIS_USERNAME"),
                password=env.get("REDIS_PASSWORD"),
                socket_timeout=2,
                socket_connect_timeout=2,
            )

    def count(self):
        """Counts one more visit and returns how many there were."""
        return self._ask(lambda server: server.incr(self._key))

    def total(self):
        """How many visits there were."""
        return int(self._ask(lambda server: server.get(self._key)) or 0)

    def _ask(self, question):
        if self._redis is None:
            raise Missing("There is no Redis yet to count visits in.", bound=False)
        try:
            return question(self._redis)
        except redis.RedisError as error:
            print(f"redis: {type(error).__name__}: {error}", flush=True)
            raise Missing("Redis does not answer at the moment.", bound=True) from error


@dataclass
class Entry:
    """A line in the guestbook."""

    name: str
    message: str
    at: datetime.datetime


class Entries:
    """Entries in MySQL, latest first."""

    TABLE = f"""
        CREATE TABLE IF NOT EXISTS entries (
          id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
          name VARCHAR({NAME_LENGTH}) NOT NULL,
          message VARCHAR({MESSAGE_LENGTH}) NOT NULL,
          at DATETIME NOT NULL
        ) CHARACTER SET utf8mb4
    """
    NO_SUCH_TABLE = 1146
    KEPT = 8

    def __init__(self, env=os.environ):
        self._idle = queue.LifoQueue(self.KEPT)
        self._where = None
        if "MYSQL_HOST" in env:
            self._where = {
                "host": env["MYSQL_HOST"],
                "port": int(env.get("MYSQL_PORT", "3306")),
                "user": env["MYSQL_USER"],
                "password": env["MYSQL_PASSWORD"],
                "database": env["MYSQL_DATABASE_NAME"],
            }

    def latest(self):
        """The newest entries, and how many there are in all."""
        rows = self._ask("SELECT name, message, at FROM entries ORDER BY id DESC LIMIT %s", (LATEST,))
        [(total,)] = self._ask("SELECT COUNT(*) FROM entries", ())
        return [Entry(*row) for row in rows], total

    def add(self, name, message):
        """Writes an entry."""
        self._ask("INSERT INTO entries (name, message, at) VALUES (%s, %s, UTC_TIMESTAMP())", (name, message))

    def _ask(self, statement, values):
        if self._where is None:
            raise Missing("There is no MySQL yet to keep entries in.", bound=False)
        try:
            connection = self._borrow()
            with connection.cursor() as cursor:
                try:
                    cursor.execute(statement, values)
                except pymysql.ProgrammingError as error:
                    if error.args[0] != self.NO_SUCH_TABLE:
                        raise
                    cursor.execute(self.TABLE)
                    cursor.execute(statement, values)
                rows = cursor.fetchall()
        except (pymysql.MySQLError, OSError) as error:
            # The connection is not given back: whatever state it is in, nobody meets it again.
            print(f"mysql: {type(error).__name__}: {error}", flush=True)
            raise Missing("MySQL does not answer at the moment.", bound=True) from error
        self._give_back(connection)
        return rows

    def _borrow(self):
        try:
            connection = self._idle.get_nowait()
            connection.ping(reconnect=True)
            return connection
        except queue.Empty:
            return pymysql.connect(
                **self._where, charset="utf8mb4", autocommit=True, connect_timeout=2, read_timeout=5, write_timeout=5
            )

    def _give_back(self, connection):
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()
