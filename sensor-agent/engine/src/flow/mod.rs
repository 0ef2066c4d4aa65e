//! A bounded table of connections; each has two directions.
