//! Every synchronous step between a receiver and an exporter queue
