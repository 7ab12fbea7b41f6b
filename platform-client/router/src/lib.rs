//! The route table and the reverse proxy in front of the units.
