//! Listeners, TLS, HTTP and gRPC plumbing, capped decompression
