//! Every way out, one folder each
