//! aqueduct-group
