//! Test hosts and traffic for the end-to-end tests.
