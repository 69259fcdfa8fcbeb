//! Installs and starts the real servers that the end-to-end tests and benchmarks talk to
