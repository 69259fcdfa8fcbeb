//! Every way in, one folder each
