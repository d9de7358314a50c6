//! aqueduct-memory
