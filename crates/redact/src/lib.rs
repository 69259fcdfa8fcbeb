//! Detectors and keyed pseudonyms for peer ids
