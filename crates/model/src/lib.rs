//! OTLP in wire format: batches, borrowed views, splice, writer, ack tokens
