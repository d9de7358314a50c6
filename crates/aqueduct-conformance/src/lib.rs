//! aqueduct-conformance
