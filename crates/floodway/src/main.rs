//! The floodway program
fn main() {}
