//! Servers for service instances: local processes with a data directory of their own.
