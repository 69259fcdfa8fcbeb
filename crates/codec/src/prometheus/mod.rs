//! The wire formats of Prometheus, to and from `model::series`.

pub mod remote_write;
