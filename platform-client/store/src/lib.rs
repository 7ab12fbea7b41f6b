//! The platform's durable state in SQLite.
