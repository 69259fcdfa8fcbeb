//! Prometheus: the remote-write protocols, and series to and from OTLP.
//!
//! | module | |
//! |---|---|
//! | [`remote_write`] | remote-write requests of both versions into batches of series |
//! | [`encode`], [`encode_v1`], [`encode_v2`] | chosen series of a batch as a remote-write request |
//! | [`from_otlp`] | OTLP metrics as series |
//! | [`to_otlp`] | series as OTLP metrics; [`otlp_form`] for whoever needs OTLP |
//! | [`names`] | names of metrics and labels |
//! | [`delta`] | delta temporality made cumulative |

pub mod delta;
pub mod encode;
pub mod encode_v1;
pub mod encode_v2;
pub mod from_otlp;
mod from_otlp_labels;
mod from_otlp_points;
pub mod names;
pub mod native;
pub mod remote_write;
pub mod to_otlp;
mod to_otlp_group;
mod to_otlp_write;

pub use to_otlp::otlp_form;
