//! aqueduct-layers
