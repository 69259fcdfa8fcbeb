//! Load generator, sinks and report: an independent oracle that shares no code with the engine
